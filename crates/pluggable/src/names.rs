use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// Names that a component reported and that its trait hands out as `&str`
/// slices. Each distinct name is kept for the life of the process, once per
/// socket, so that reloading a component any number of times adds nothing.
#[derive(Clone, Default)]
pub struct Names(Arc<Mutex<HashSet<&'static str>>>);

impl Names {
    pub fn keep(&self, names: Vec<String>) -> Vec<&'static str> {
        let mut kept = self.0.lock();
        names
            .into_iter()
            .map(|name| match kept.get(name.as_str()) {
                Some(known) => *known,
                None => {
                    let name: &'static str = name.leak();
                    kept.insert(name);
                    name
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let names = Names::default();
        let (a, b) = (names.keep(vec!["get".into()]), names.clone().keep(vec!["get".into(), "put".into()]));
        assert!(std::ptr::eq(a[0], b[0]));
        assert_eq!((b[1], names.0.lock().len()), ("put", 2));
    }
}
