//! Answers that are kept for a while: the same question with the same options
//! is not asked twice.

use std::collections::HashMap;
use std::time::Duration;

use dapr_components::conversation::{Error, Request};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::Answer;

/// Answers that are kept; while there are so many, further ones are not.
const MAX_ANSWERS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Cache {
    /// Zero keeps answers for good.
    ttl: Duration,
    answers: Mutex<HashMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    answer: Answer,
    since: Instant,
}

impl Cache {
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, answers: Mutex::default() }
    }

    pub fn key(&self, request: &Request) -> Result<String, Error> {
        serde_json::to_string(request).map_err(|e| Error::new(e.to_string()))
    }

    pub fn get(&self, question: &str) -> Option<Answer> {
        let answers = self.answers.lock();
        answers.get(question).filter(|kept| self.is_fresh(kept)).map(|kept| kept.answer.clone())
    }

    pub fn put(&self, question: String, answer: Answer) {
        let mut answers = self.answers.lock();
        if answers.len() >= MAX_ANSWERS {
            answers.retain(|_, kept| self.is_fresh(kept));
        }
        if answers.len() < MAX_ANSWERS {
            answers.insert(question, Kept { answer, since: Instant::now() });
        }
    }

    fn is_fresh(&self, kept: &Kept) -> bool {
        self.ttl.is_zero() || kept.since.elapsed() < self.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_expire_and_the_cache_is_bounded() {
        let cache = Cache::new(Duration::from_secs(10));
        for i in 0..=MAX_ANSWERS {
            cache.put(i.to_string(), Answer::default());
        }
        assert!(cache.get("0").is_some() && cache.get(&MAX_ANSWERS.to_string()).is_none());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(cache.get("0").is_none());
        cache.put("new".into(), Answer::default());
        assert_eq!(cache.answers.lock().len(), 1);
    }

    #[test]
    fn options_are_part_of_the_question() {
        let cache = Cache::new(Duration::ZERO);
        let plain = cache.key(&Request::default()).unwrap();
        let warm = cache.key(&Request { temperature: 0.5, ..Request::default() }).unwrap();
        assert_ne!(plain, warm);
    }
}
