//! Tables without borders (cli.md §1.4).

/// Upper-case headers, left aligned, two spaces behind every column. A column
/// that is blank in all rows is left out, unless there are no rows.
pub(crate) fn render(headers: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| tidy(cell)).collect()).collect();
    let shown = |column: &usize| rows.iter().any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty()));
    let mut columns: Vec<usize> = (0..headers.len()).filter(shown).collect();
    if columns.is_empty() {
        columns = (0..headers.len()).collect();
    }
    let titles: Vec<String> =
        headers.iter().map(|header| header.replace(['_', '.'], " ").to_uppercase()).collect();
    let blank = String::new();
    let lines: Vec<Vec<&String>> = std::iter::once(&titles)
        .chain(&rows)
        .map(|row| columns.iter().map(|column| row.get(*column).unwrap_or(&blank)).collect())
        .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for line in &lines {
        let cells: String =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        out.push_str(cells.trim_start_matches(' '));
        out.push('\n');
    }
    out
}

/// One line, single spaces.
fn tidy(cell: &str) -> String {
    cell.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn blank_columns_vanish_and_padding_stays() {
        let rows = [row(&["a", "", "x\n y"]), row(&["abcdefghij", " ", ""])];
        assert_eq!(
            render(&["app id", "RUN_PATH", "command"], &rows),
            "APP ID      COMMAND  \na           x y      \nabcdefghij           \n"
        );
    }

    #[test]
    fn no_rows_show_every_header() {
        assert_eq!(render(&["NAME", "LAST.RUN"], &[]), "NAME  LAST RUN  \n");
    }

    #[test]
    fn a_blank_first_cell_leaves_no_indent() {
        let rows = [row(&["", "b"]), row(&["long", "c"])];
        assert_eq!(render(&["A", "B"], &rows), "A     B  \nb  \nlong  c  \n");
    }
}
