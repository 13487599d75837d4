//! What is printed in the end.

use std::fmt::Write;

use crate::{
    plan::{Figures, Plan, Result},
    server::Server,
};

/// One line of the table.
struct Line {
    title: String,
    /// How many digits stand behind the point.
    digits: usize,
    /// Whether it says how ours compares.
    compared: bool,
    /// One for each server.
    figures: Vec<Option<f64>>,
}

type Figure = fn(&Figures) -> Option<f64>;

/// A table as Markdown has it: the median of each measurement, a column for each server, and with each of the others
/// how much of its figure ours is.
pub(crate) fn render(servers: &[Server], results: &[Result]) -> String {
    let mut out = String::new();
    let names: Vec<&str> = servers.iter().map(|server| server.name()).collect();
    let _ = writeln!(out, "\n| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for line in Plan::titles().flat_map(|title| lines(title, servers, results)) {
        let ours = servers.iter().position(|server| *server == Server::Dialogue);
        let ours = ours.and_then(|place| line.figures[place]).filter(|_| line.compared);
        let cells = line.figures.iter().zip(servers).map(|(figure, server)| match (figure, ours) {
            (None, _) => String::new(),
            (Some(theirs), Some(ours)) if *server != Server::Dialogue && *theirs > 0.0 => {
                format!("{theirs:.*} (ours is {:.2} of it)", line.digits, ours / theirs)
            }
            (Some(figure), _) => format!("{figure:.*}", line.digits),
        });
        let _ = writeln!(out, "| {} | {} |", line.title, cells.collect::<Vec<_>>().join(" | "));
    }
    out
}

fn lines(title: &'static str, servers: &[Server], results: &[Result]) -> Vec<Line> {
    let figures: [(&str, usize, bool, Figure); 7] = [
        ("CPU µs/delivery", 3, true, |figures| deliveries(figures, |outcome| outcome.cpu)),
        ("p50 ms", 2, false, |figures| deliveries(figures, |outcome| outcome.p50 / 1_000.0)),
        ("p99 ms", 2, false, |figures| deliveries(figures, |outcome| outcome.p99 / 1_000.0)),
        ("deliveries", 0, false, |figures| deliveries(figures, |outcome| outcome.delivered as f64)),
        ("other CPUs busy", 2, false, |figures| deliveries(figures, |outcome| outcome.others)),
        ("CPU µs/connect", 1, true, |figures| match figures {
            Figures::Idle(idle) => Some(idle.connect_cpu),
            Figures::Deliveries(_) => None,
        }),
        ("bytes/connection", 0, true, |figures| match figures {
            Figures::Idle(idle) => Some(idle.memory),
            Figures::Deliveries(_) => None,
        }),
    ];
    let of = |server: &Server, figure: Figure| {
        let mine = results.iter().filter(|result| result.server == *server && result.title == title);
        median(mine.filter_map(|result| figure(&result.figures)).collect())
    };
    let lines = figures.into_iter().map(|(what, digits, compared, figure)| Line {
        title: format!("{title}: {what}"),
        digits,
        compared,
        figures: servers.iter().map(|server| of(server, figure)).collect(),
    });
    let faults = wrong(title, servers, results);
    lines.filter(|line| line.figures.iter().any(Option::is_some)).chain(faults).collect()
}

/// A line only if something was wrong.
fn wrong(title: &str, servers: &[Server], results: &[Result]) -> Option<Line> {
    let count = |server: &Server| {
        let mine = results.iter().filter(|result| result.server == *server && result.title == title);
        let faults = mine.filter_map(|result| {
            deliveries(&result.figures, |outcome| {
                (outcome.missing + outcome.doubled + outcome.disordered) as f64
            })
        });
        faults.sum::<f64>()
    };
    let figures: Vec<_> = servers.iter().map(|server| Some(count(server))).collect();
    let title = format!("{title}: missing, doubled or out of order");
    let any = figures.iter().flatten().any(|faults| *faults > 0.0);
    any.then_some(Line { title, digits: 0, compared: false, figures })
}

fn deliveries(figures: &Figures, of: impl Fn(&crate::crowd::Outcome) -> f64) -> Option<f64> {
    match figures {
        Figures::Deliveries(outcome) => Some(of(outcome)),
        Figures::Idle(_) => None,
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
