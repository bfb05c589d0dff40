//! A trace as text: the tree of its spans, and the same with times and bars, as a trace viewer draws it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};

use crate::otlp::{ReceivedSpan, hex};

/// The width of the longest bar, in characters.
const BAR: usize = 30;

/// A span at its place in the tree.
struct Node<'a> {
    span: &'a ReceivedSpan,
    depth: usize,
}

/// The spans in the order in which a viewer shows them: each before its children, siblings by their start. A span whose
/// parent is not among them stands at the beginning of a line.
fn tree(spans: &[ReceivedSpan]) -> Vec<Node<'_>> {
    let known: BTreeSet<&[u8]> = spans.iter().map(|span| &span.span.span_id[..]).collect();
    let mut children: BTreeMap<&[u8], Vec<&ReceivedSpan>> = BTreeMap::new();
    for span in spans {
        let parent = &span.span.parent_span_id[..];
        children.entry(if known.contains(parent) { parent } else { &[] }).or_default().push(span);
    }
    for siblings in children.values_mut() {
        siblings.sort_by_key(|span| span.span.start_time_unix_nano);
    }
    let mut nodes = Vec::new();
    let mut stack: Vec<Node<'_>> =
        children.get(&[][..]).into_iter().flatten().rev().map(|span| Node { span, depth: 0 }).collect();
    while let Some(node) = stack.pop() {
        let below = children.get(&node.span.span.span_id[..]).into_iter().flatten();
        stack.extend(below.rev().map(|span| Node { span, depth: node.depth + 1 }));
        nodes.push(node);
    }
    nodes
}

/// One line a span: its service, its name at its depth, its kind; `!` and the reason where it failed, `~` for each link.
/// Two traces of which the same happened give the same text.
pub fn outline(spans: &[ReceivedSpan]) -> String {
    let mut text = String::new();
    for Node { span, depth } in tree(spans) {
        let kind = SpanKind::try_from(span.span.kind).map_or("?", |kind| match kind {
            SpanKind::Server => "SERVER",
            SpanKind::Client => "CLIENT",
            SpanKind::Producer => "PRODUCER",
            SpanKind::Consumer => "CONSUMER",
            SpanKind::Internal | SpanKind::Unspecified => "INTERNAL",
        });
        let indent = "  ".repeat(depth);
        let _ = write!(text, "{:<8} {indent}{} {kind}", span.service, span.span.name);
        if span.span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error) {
            let _ = write!(text, " !{}", span.attribute("error.type").unwrap_or_default());
        }
        for link in &span.span.links {
            let place = match (hex(&link.trace_id) == span.trace_id(), link.span_id == span.span.parent_span_id) {
                (true, true) => "parent",
                (true, false) => "same trace",
                (false, _) => "other trace",
            };
            let _ = write!(text, " ~{place}");
        }
        text.push('\n');
    }
    text
}

/// The same tree with its times: when each span began, how long it took, and a bar for both.
pub fn waterfall(spans: &[ReceivedSpan]) -> String {
    let nodes = tree(spans);
    let begin = spans.iter().map(|span| span.span.start_time_unix_nano).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.span.end_time_unix_nano).max().unwrap_or_default();
    let whole = (end - begin).max(1);
    let name = |node: &Node<'_>| format!("{}{}", "  ".repeat(node.depth), node.span.span.name);
    let width = nodes.iter().map(|node| name(node).chars().count()).max().unwrap_or_default();
    let services = nodes.iter().map(|node| node.span.service.len()).max().unwrap_or_default();
    let place = |nanoseconds: u64| usize::try_from(nanoseconds * BAR as u64 / whole).unwrap_or(BAR).min(BAR - 1);
    let mut text = String::new();
    for node in nodes {
        let span = &node.span.span;
        let (from, to) =
            (span.start_time_unix_nano - begin, span.end_time_unix_nano.max(span.start_time_unix_nano) - begin);
        let bar = format!("{}{}", " ".repeat(place(from)), "█".repeat(place(to) - place(from) + 1));
        let failed = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
        let _ = writeln!(
            text,
            "{:services$}  {:width$}  {:>7.1} {:>7.1} ms {}{}",
            node.span.service,
            name(&node),
            from as f64 / 1e6,
            (to - from) as f64 / 1e6,
            bar,
            if failed { " !" } else { "" },
        );
    }
    text
}

/// Shows a waterfall to whoever runs a test with `--nocapture`.
pub fn show(spans: &[ReceivedSpan]) {
    eprint!("\n{}", waterfall(spans));
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::Link};

    use super::*;

    fn span(id: u8, parent: u8, name: &str, kind: SpanKind, (from, to): (u64, u64)) -> ReceivedSpan {
        let id_of = |id: u8| if id == 0 { vec![] } else { vec![id; 8] };
        let span = Span {
            trace_id: vec![1; 16],
            span_id: id_of(id),
            parent_span_id: id_of(parent),
            name: name.to_owned(),
            kind: kind.into(),
            start_time_unix_nano: from * 1_000_000,
            end_time_unix_nano: to * 1_000_000,
            ..Span::default()
        };
        ReceivedSpan { service: "orders".to_owned(), resource: Vec::new(), span }
    }

    fn trace() -> Vec<ReceivedSpan> {
        let mut failed = span(3, 2, "publish", SpanKind::Client, (20, 30));
        failed.span.status = Some(Status { message: String::new(), code: StatusCode::Error.into() });
        let link = |trace: u8, span: u8| Link { trace_id: vec![trace; 16], span_id: vec![span; 8], ..Link::default() };
        failed.span.links = vec![link(1, 2), link(1, 1), link(9, 9)];
        // Neither in the order of the tree, nor of time.
        vec![
            failed,
            span(4, 1, "COMMIT", SpanKind::Client, (12, 14)),
            span(2, 1, "create", SpanKind::Producer, (10, 11)),
            span(1, 7, "POST /orders", SpanKind::Server, (0, 25)),
        ]
    }

    #[test]
    fn an_outline_has_the_tree_the_kinds_the_failures_and_the_links() {
        assert_eq!(
            outline(&trace()),
            "orders   POST /orders SERVER\n\
             orders     create PRODUCER\n\
             orders       publish CLIENT ! ~parent ~same trace ~other trace\n\
             orders     COMMIT CLIENT\n"
        );
    }

    #[test]
    fn a_waterfall_has_a_bar_for_the_time_of_each_span() {
        let bar = |from: usize, length: usize| format!("{}{}", " ".repeat(from), "█".repeat(length));
        assert_eq!(
            waterfall(&trace()),
            format!(
                "orders  POST /orders      0.0    25.0 ms {}\n\
                 orders    create         10.0     1.0 ms {}\n\
                 orders      publish      20.0    10.0 ms {} !\n\
                 orders    COMMIT         12.0     2.0 ms {}\n",
                bar(0, 26),
                bar(10, 2),
                bar(20, 10),
                bar(12, 3),
            )
        );
    }
}
