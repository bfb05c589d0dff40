//! Statements over many rows, in few different texts.
//!
//! How many rows a statement is about shows in its text, and each text is a prepared statement that the connection
//! remembers, and the server's session too. Batches of any size are hundreds of long texts on each connection of the
//! pool: tens of MiB a process, and hardly one of them is prepared in vain less than once. So the sizes are few.

/// The most rows of one `INSERT`.
const PORTION: usize = 64;

/// Rows to insert, a portion at a time: 64, 16, 4, or 1 of them. In order, so that whoever sorted them to avoid
/// deadlocks still has them sorted.
pub fn portions<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut size = PORTION;
        while size > rest.len().max(1) {
            size /= 4;
        }
        let (portion, left) = rest.split_at_checked(size)?;
        rest = left;
        Some(portion)
    })
}

/// Values for an `IN (…)`: the last one again and again, until there is a power of two of them.
pub fn padded<T: Clone>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    values
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nothing_is_left_out_and_the_sizes_are_few() {
        let rows: Vec<usize> = (0..1000).collect();
        let (mut inserted, mut asked) = (BTreeSet::new(), BTreeSet::new());
        for count in 0..=rows.len() {
            let rows = &rows[..count];
            assert_eq!(portions(rows).flatten().copied().collect::<Vec<_>>(), rows);
            inserted.extend(portions(rows).map(<[_]>::len));
            let padded = padded(rows.iter().copied());
            assert_eq!(padded.iter().copied().collect::<BTreeSet<_>>(), rows.iter().copied().collect());
            asked.insert(padded.len());
        }
        assert_eq!(Vec::from_iter(inserted), [1, 4, 16, 64]);
        assert_eq!(Vec::from_iter(asked), [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]);
    }
}
