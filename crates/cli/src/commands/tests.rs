//! Complete help and error texts.

use dapr_flags::Outcome;

use super::tree;

fn outcome_text(args: &[&str]) -> String {
    let tree = tree();
    match tree.resolve(args.iter().map(|arg| (*arg).to_owned()).collect()).outcome {
        Outcome::Help(text) => text,
        Outcome::Refused { stderr, .. } => stderr,
        other => panic!("{args:?} led to {:?}", std::mem::discriminant(&other)),
    }
}
