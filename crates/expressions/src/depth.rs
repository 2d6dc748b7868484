//! How deeply an expression nests: guessed from the text before it is parsed,
//! counted in the tree before it is evaluated.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// Brackets that are open at once, and conditions, of which each contains the
/// next. Those within texts count, too: the limit is far above what is used.
pub fn of_text(expression: &str) -> usize {
    let (mut open, mut deepest, mut conditions) = (0_usize, 0, 0);
    for byte in expression.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'?' => conditions += 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest + conditions
}

/// Operations of which each needs the result of the next. A chain such as
/// `a + b + c` is one, without a bracket. Takes stack for each.
pub fn of_tree(node: &IdedExpr) -> usize {
    let deepest = match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => return 0,
        Expr::Call(call) => most(call.target.as_deref().into_iter().chain(&call.args)),
        Expr::Select(select) => of_tree(&select.operand),
        Expr::List(list) => most(&list.elements),
        Expr::Map(map) => of_entries(map.entries.iter().map(|entry| &entry.expr)),
        Expr::Struct(fields) => of_entries(fields.entries.iter().map(|entry| &entry.expr)),
        Expr::Comprehension(each) => {
            most([&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result])
        }
    };
    deepest + 1
}

fn most<'a>(nodes: impl IntoIterator<Item = &'a IdedExpr>) -> usize {
    nodes.into_iter().map(of_tree).max().unwrap_or_default()
}

fn of_entries<'a>(entries: impl Iterator<Item = &'a EntryExpr>) -> usize {
    let deepest = entries.map(|entry| match entry {
        EntryExpr::StructField(field) => of_tree(&field.value),
        EntryExpr::MapEntry(entry) => of_tree(&entry.key).max(of_tree(&entry.value)),
    });
    deepest.max().unwrap_or_default()
}
