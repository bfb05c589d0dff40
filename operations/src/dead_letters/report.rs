//! What is written about what was set aside: a table, everything, or JSON.

use std::io::{self, Write};

use chrono::SecondsFormat;

use super::item::Item;

/// The most characters of an error in a table.
const ERROR_WIDTH: usize = 80;

/// The items so far.
#[derive(Debug)]
pub(super) struct Report {
    /// What was, or would be, done with each; empty for a look.
    deed: &'static str,
    in_full: bool,
    items: Vec<Item>,
}

impl Report {
    /// One line for each item, and what was done with them.
    pub(super) fn table(deed: &'static str) -> Self {
        Self { deed, in_full: false, items: Vec::new() }
    }

    /// Everything about each item.
    pub(super) fn in_full() -> Self {
        Self { deed: "", in_full: true, items: Vec::new() }
    }

    /// Whether nothing is to be done.
    pub(super) fn is_a_look(&self) -> bool {
        self.deed.is_empty()
    }

    /// Adds one. A body that is not shown is not kept.
    pub(super) fn add(&mut self, mut item: Item) {
        if !self.in_full {
            item.body = Vec::new();
        }
        self.items.push(item);
    }

    /// Writes all of it.
    pub(super) fn write(&self, json: bool, out: &mut (dyn Write + Send)) -> io::Result<()> {
        if json {
            return self.items.iter().try_for_each(|item| writeln!(out, "{}", serde_json::to_string(item)?));
        }
        match self.in_full {
            true => self.items.iter().try_for_each(|item| block(item, out))?,
            false if self.items.is_empty() => {}
            false => self.lines(out)?,
        }
        match (self.items.len(), self.deed) {
            (0, _) => writeln!(out, "nothing"),
            (count, "") => writeln!(out, "{count} in all"),
            (count, deed) if deed.starts_with("would") => writeln!(out, "{count} {deed}; --yes does it"),
            (count, deed) => writeln!(out, "{count} {deed}"),
        }
    }

    fn lines(&self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        let heads = ["PLACE", "ID", "TYPE", "REASON", "RETRIES", "SINCE", "ERROR"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heads).chain(self.items.iter().map(cells)).collect();
        let mut widths = [0; 7];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &rows {
            let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn cells(item: &Item) -> [String; 7] {
    let error: String = item.error.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let error = match error.char_indices().nth(ERROR_WIDTH) {
        Some((end, _)) => format!("{}…", &error[..end]),
        None => error,
    };
    [
        item.place.clone(),
        item.id.to_string(),
        item.event_type.clone(),
        item.reason.clone(),
        item.retries.to_string(),
        since(item),
        error,
    ]
}

fn since(item: &Item) -> String {
    item.failed_at.map_or_else(|| "?".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn block(item: &Item, out: &mut (dyn Write + Send)) -> io::Result<()> {
    writeln!(out, "{} {}", item.event_type, item.id)?;
    let order = item.order_id.as_deref().unwrap_or("?");
    let service = item.service.as_deref().unwrap_or("?");
    for (name, value) in [
        ("place", item.place.as_str()),
        ("back to", &item.back_to),
        ("order", order),
        ("reason", &item.reason),
        ("error", &item.error),
        ("retries", &item.retries.to_string()),
        ("service", service),
        ("since", &since(item)),
        ("body", &item.text()),
    ] {
        writeln!(out, "  {name:8} {value}")?;
    }
    writeln!(out)
}
