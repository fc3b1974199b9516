//! What the benches print: tables in plain text, and the goals with what became of them.

use std::fmt::Display;

/// Rows of text under headings; columns are as wide as their widest cell.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(ToString::to_string).collect()],
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it under a title.
    pub(crate) fn print(&self, title: &str) {
        println!("\n{title}");
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Names to the left, numbers to the right.
                line += &match column {
                    0 => format!("  {cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            println!("{}", line.trim_end());
        }
    }
}

/// All goals of a run.
#[derive(Default)]
pub(crate) struct Goals {
    rows: Vec<[String; 4]>,
}

impl Goals {
    /// `measured` has to be at least `goal`.
    pub(crate) fn at_least(&mut self, what: impl Display, measured: f64, goal: f64) {
        let met = measured >= goal;
        self.add(what, format!("{measured:.2}"), format!(">= {goal}"), met);
    }

    /// `measured` has to be at most `goal`.
    pub(crate) fn at_most(&mut self, what: impl Display, measured: f64, goal: f64, unit: &str) {
        let met = measured <= goal;
        self.add(
            what,
            format!("{measured:.2}{unit}"),
            format!("<= {goal:.2}{unit}"),
            met,
        );
    }

    /// There is nothing to judge, and why.
    pub(crate) fn not_measured(&mut self, what: impl Display, why: &str) {
        let why = format!("not measured: {why}");
        self.rows
            .push([what.to_string(), "-".to_owned(), "-".to_owned(), why]);
    }

    fn add(&mut self, what: impl Display, measured: String, goal: String, met: bool) {
        let verdict = if met { "met" } else { "NOT MET" };
        self.rows
            .push([what.to_string(), measured, goal, verdict.to_owned()]);
    }

    /// Prints them all.
    pub(crate) fn print(self) {
        if self.rows.is_empty() {
            return;
        }
        let mut table = Table::new(&["goal", "measured", "wanted", ""]);
        for row in self.rows {
            table.row(row);
        }
        table.print("GOALS");
    }
}

/// The median of what was measured; 0 of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
