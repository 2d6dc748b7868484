//! Tables and statements of the bus.
//!
//! A message id is the topic's number in the upper bits and a count within the
//! topic in the lower ones, so that one topic's messages lie side by side in
//! the only index. Counts are never used twice.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::ledger::{Rewrite, Span};
use crate::database::Error;

/// Bits of a message id that count within the topic: 10^12 messages.
const COUNT_BITS: u32 = 40;

pub(super) struct NewMessage {
    pub(super) topic: String,
    pub(super) data: Bytes,
    /// A JSON object.
    pub(super) metadata: Option<String>,
    pub(super) expires_at: Option<i64>,
}

/// A consumer group's share of a topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) topic_id: i64,
    pub(super) group_id: i64,
}

pub(super) struct Loaded {
    pub(super) id: i64,
    pub(super) data: Bytes,
    pub(super) metadata: Option<String>,
}

/// Messages that were taken together.
pub(super) struct Claim {
    pub(super) span: Span,
    /// Deliveries, this one included.
    pub(super) attempts: u32,
    pub(super) messages: Vec<Loaded>,
}

/// One visit of a consumer: what it has done and what it wants.
pub(super) struct Visit {
    pub(super) owner: String,
    pub(super) rewrites: Vec<Rewrite>,
    /// Rows whose lease is to be extended.
    pub(super) renew: Vec<i64>,
    /// Rows that this consumer holds: never to be taken again.
    pub(super) held: Vec<i64>,
    pub(super) want: usize,
    pub(super) now: i64,
    pub(super) lease_until: i64,
    pub(super) max_deliveries: Option<u32>,
}

#[derive(Default)]
pub(super) struct Visited {
    /// For each rewrite; see [`super::ledger::Ledger::written`].
    pub(super) rows: Vec<Option<Vec<Span>>>,
    pub(super) claims: Vec<Claim>,
    /// Messages given up after too many deliveries.
    pub(super) dropped: usize,
    /// When the next redelivery is due; known only if less than was wanted
    /// could be taken.
    pub(super) next_due: Option<i64>,
    pub(super) more: bool,
}

pub(super) struct Store {
    table: String,
    next_id: String,
    insert: String,
    has_new: String,
    redeliverable: String,
    next_due: String,
    load: String,
    new: String,
    take: String,
    advance: String,
    release: String,
    take_over: String,
    renew: String,
}

impl Store {
    pub(super) fn new(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            next_id: format!(
                "UPDATE {table}_topics SET last = last + 1 WHERE name = ? RETURNING (id << {COUNT_BITS}) + last"
            ),
            insert: format!("INSERT INTO {table}_messages (id, expires_at, metadata, data) VALUES (?, ?, ?, ?)"),
            has_new: format!(
                "SELECT (SELECT (id << {COUNT_BITS}) + last FROM {table}_topics WHERE id = ?1)
                 > (SELECT cursor FROM {table}_groups WHERE id = ?2)"
            ),
            redeliverable: format!(
                "SELECT id, first_id, last_id, attempts FROM {table}_pending
                 WHERE group_id = ? AND visible_at <= ? ORDER BY visible_at, first_id"
            ),
            next_due: format!(
                "SELECT id, visible_at FROM {table}_pending WHERE group_id = ? ORDER BY visible_at"
            ),
            load: format!(
                "SELECT id, expires_at, metadata, data FROM {table}_messages
                 WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
            ),
            new: format!(
                "SELECT id, expires_at, metadata, data FROM {table}_messages
                 WHERE id > (SELECT cursor FROM {table}_groups WHERE id = ?1) AND id < (?2 + 1) << {COUNT_BITS}
                 ORDER BY id LIMIT ?3"
            ),
            take: format!(
                "INSERT INTO {table}_pending (group_id, first_id, last_id, owner, visible_at, attempts)
                 VALUES (?, ?, ?, ?, ?, ?)"
            ),
            advance: format!("UPDATE {table}_groups SET cursor = ? WHERE id = ?"),
            release: format!("DELETE FROM {table}_pending WHERE id = ? AND owner = ?"),
            take_over: format!("DELETE FROM {table}_pending WHERE id = ?"),
            renew: format!("UPDATE {table}_pending SET visible_at = ? WHERE id = ? AND owner = ?"),
        }
    }

    /// `expires_at` comes before the data: looking for expired messages then
    /// does not read the data.
    pub(super) fn create_tables(&self) -> String {
        let table = &self.table;
        format!(
            "CREATE TABLE {table}_topics (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL UNIQUE,
                last INTEGER NOT NULL DEFAULT 0
            );
            CREATE TABLE {table}_groups (
                id INTEGER PRIMARY KEY,
                topic_id INTEGER NOT NULL,
                name TEXT NOT NULL,
                cursor INTEGER NOT NULL,
                UNIQUE (topic_id, name)
            );
            CREATE TABLE {table}_messages (
                id INTEGER PRIMARY KEY,
                expires_at INTEGER,
                metadata TEXT,
                data BLOB NOT NULL
            );
            CREATE TABLE {table}_pending (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                group_id INTEGER NOT NULL,
                first_id INTEGER NOT NULL,
                last_id INTEGER NOT NULL,
                owner TEXT NOT NULL,
                visible_at INTEGER NOT NULL,
                attempts INTEGER NOT NULL
            );
            CREATE INDEX {table}_pending_due ON {table}_pending (group_id, visible_at);"
        )
    }

    /// Stores a message, unless nobody ever subscribed to its topic.
    pub(super) fn publish(&self, connection: &Connection, message: &NewMessage) -> Result<(), Error> {
        let id: Option<i64> = connection
            .prepare_cached(&self.next_id)?
            .query_row([&message.topic], |row| row.get(0))
            .optional()?;
        let Some(id) = id else { return Ok(()) };
        connection.prepare_cached(&self.insert)?.execute(params![
            id,
            message.expires_at,
            message.metadata,
            &message.data[..]
        ])?;
        Ok(())
    }

    /// Makes the group known; a new one begins after the topic's last message.
    pub(super) fn join(&self, connection: &Connection, topic: &str, group: &str) -> Result<Member, Error> {
        let table = &self.table;
        connection.execute(
            &format!("INSERT INTO {table}_topics (name) VALUES (?) ON CONFLICT DO NOTHING"),
            [topic],
        )?;
        let topic_id: i64 =
            connection
                .query_row(&format!("SELECT id FROM {table}_topics WHERE name = ?"), [topic], |r| r.get(0))?;
        connection.execute(
            &format!(
                "INSERT INTO {table}_groups (topic_id, name, cursor)
                 SELECT id, ?2, (id << {COUNT_BITS}) + last FROM {table}_topics WHERE id = ?1
                 ON CONFLICT DO NOTHING"
            ),
            params![topic_id, group],
        )?;
        let group_id = connection.query_row(
            &format!("SELECT id FROM {table}_groups WHERE topic_id = ? AND name = ?"),
            params![topic_id, group],
            |row| row.get(0),
        )?;
        Ok(Member { topic_id, group_id })
    }

    /// Whether a visit would find messages, and when the next one is due.
    pub(super) fn look(
        &self,
        connection: &Connection,
        member: Member,
        held: &[i64],
        now: i64,
    ) -> Result<(bool, Option<i64>), Error> {
        let new: bool = connection
            .prepare_cached(&self.has_new)?
            .query_row([member.topic_id, member.group_id], |row| row.get(0))?;
        let due = self.next_due(connection, member, held)?;
        Ok((new || due.is_some_and(|at| at <= now), due))
    }

    fn next_due(&self, connection: &Connection, member: Member, held: &[i64]) -> Result<Option<i64>, Error> {
        let mut statement = connection.prepare_cached(&self.next_due)?;
        let mut rows = statement.query([member.group_id])?;
        while let Some(row) = rows.next()? {
            if !held.contains(&row.get(0)?) {
                return Ok(Some(row.get(1)?));
            }
        }
        Ok(None)
    }

    /// Writes down what was done, then takes up to `want` messages: those that
    /// come back first, then new ones.
    pub(super) fn visit(
        &self,
        connection: &Connection,
        member: Member,
        visit: &Visit,
    ) -> Result<Visited, Error> {
        let mut visited = Visited::default();
        let mut held = visit.held.clone();
        for rewrite in &visit.rewrites {
            let new = self.rewrite(connection, member, visit, rewrite)?;
            held.extend(new.iter().flatten().map(|span| span.row));
            visited.rows.push(new);
        }
        for row in &visit.renew {
            connection.prepare_cached(&self.renew)?.execute(params![visit.lease_until, row, visit.owner])?;
        }
        let mut want = visit.want;
        if want > 0 {
            self.take_again(connection, member, visit, &held, &mut want, &mut visited)?;
        }
        if want > 0 {
            self.take_new(connection, member, visit, &mut want, &mut visited)?;
        }
        visited.more = visit.want > 0 && want == 0;
        if visit.want > 0 && want > 0 {
            held.extend(visited.claims.iter().map(|claim| claim.span.row));
            visited.next_due = self.next_due(connection, member, &held)?;
        }
        Ok(visited)
    }

    fn rewrite(
        &self,
        connection: &Connection,
        member: Member,
        visit: &Visit,
        rewrite: &Rewrite,
    ) -> Result<Option<Vec<Span>>, Error> {
        let mine =
            connection.prepare_cached(&self.release)?.execute(params![rewrite.span.row, visit.owner])? > 0;
        if !mine {
            return Ok(None);
        }
        for (id, at, attempts) in &rewrite.again {
            self.put(connection, member, (*id, *id), "", *at, *attempts)?;
        }
        let mut spans = Vec::with_capacity(rewrite.keep.len());
        for (first, last) in &rewrite.keep {
            let owner = &visit.owner;
            spans.push(self.put(
                connection,
                member,
                (*first, *last),
                owner,
                visit.lease_until,
                rewrite.attempts,
            )?);
        }
        Ok(Some(spans))
    }

    fn put(
        &self,
        connection: &Connection,
        member: Member,
        (first, last): (i64, i64),
        owner: &str,
        visible_at: i64,
        attempts: u32,
    ) -> Result<Span, Error> {
        let mut statement = connection.prepare_cached(&self.take)?;
        let row = statement.insert(params![member.group_id, first, last, owner, visible_at, attempts])?;
        Ok(Span { row, first, last })
    }

    fn take_again(
        &self,
        connection: &Connection,
        member: Member,
        visit: &Visit,
        held: &[i64],
        want: &mut usize,
        visited: &mut Visited,
    ) -> Result<(), Error> {
        let mut due = Vec::new();
        {
            let mut statement = connection.prepare_cached(&self.redeliverable)?;
            let mut rows = statement.query([member.group_id, visit.now])?;
            while let Some(row) = rows.next()?
                && due.len() < *want
            {
                let span = Span { row: row.get(0)?, first: row.get(1)?, last: row.get(2)? };
                if !held.contains(&span.row) {
                    due.push((span, row.get::<_, u32>(3)?));
                }
            }
        }
        for (span, attempts) in due {
            if *want == 0 {
                break;
            }
            connection.prepare_cached(&self.take_over)?.execute([span.row])?;
            let mut statement = connection.prepare_cached(&self.load)?;
            let (messages, seen) =
                load(&mut statement, params![span.first, span.last, limit(*want)], visit.now)?;
            // What does not fit stays for somebody else, at once.
            let last = match seen.last() {
                Some(last) if seen.len() >= *want => *last,
                _ => span.last,
            };
            if last < span.last {
                self.put(connection, member, (last + 1, span.last), "", visit.now, attempts)?;
            }
            let attempts = attempts.saturating_add(1);
            if visit.max_deliveries.is_some_and(|most| attempts > most) {
                visited.dropped += messages.len();
                continue;
            }
            if messages.is_empty() {
                continue;
            }
            let span =
                self.put(connection, member, (span.first, last), &visit.owner, visit.lease_until, attempts)?;
            *want -= messages.len();
            visited.claims.push(Claim { span, attempts, messages });
        }
        Ok(())
    }

    fn take_new(
        &self,
        connection: &Connection,
        member: Member,
        visit: &Visit,
        want: &mut usize,
        visited: &mut Visited,
    ) -> Result<(), Error> {
        while *want > 0 {
            let (messages, seen) = {
                let mut statement = connection.prepare_cached(&self.new)?;
                load(&mut statement, params![member.group_id, member.topic_id, limit(*want)], visit.now)?
            };
            let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return Ok(()) };
            let more = seen.len() >= *want;
            connection.prepare_cached(&self.advance)?.execute([*last, member.group_id])?;
            if !messages.is_empty() {
                let (owner, until) = (&visit.owner, visit.lease_until);
                let span = self.put(connection, member, (*first, *last), owner, until, 1)?;
                *want -= messages.len();
                visited.claims.push(Claim { span, attempts: 1, messages });
            }
            if !more {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Consumed messages, topic by topic: spans of ids below every group's
    /// cursor that no group has pending.
    pub(super) fn consumed(&self, connection: &Connection) -> Result<Vec<(i64, i64)>, Error> {
        let table = &self.table;
        let mut spans = Vec::new();
        let mut topics = connection
            .prepare_cached(&format!("SELECT topic_id, min(cursor) FROM {table}_groups GROUP BY topic_id"))?;
        let topics: Vec<(i64, i64)> =
            topics.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        for (topic_id, cursor) in topics {
            let mut from = topic_id << COUNT_BITS;
            let mut pending = connection.prepare_cached(&format!(
                "SELECT first_id, last_id FROM {table}_pending
                 WHERE group_id IN (SELECT id FROM {table}_groups WHERE topic_id = ?) ORDER BY first_id"
            ))?;
            let mut rows = pending.query([topic_id])?;
            while let Some(row) = rows.next()? {
                let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
                if first > from {
                    self.push_existing(connection, (from, cursor.min(first - 1)), &mut spans)?;
                }
                from = from.max(last + 1);
            }
            self.push_existing(connection, (from, cursor), &mut spans)?;
        }
        Ok(spans)
    }

    /// Shortens a span to begin with a message, so that what was deleted long
    /// ago is not gone through again.
    fn push_existing(
        &self,
        connection: &Connection,
        (first, last): (i64, i64),
        spans: &mut Vec<(i64, i64)>,
    ) -> Result<(), Error> {
        let text = format!("SELECT min(id) FROM {}_messages WHERE id BETWEEN ? AND ?", self.table);
        let found: Option<i64> =
            connection.prepare_cached(&text)?.query_row([first, last], |row| row.get(0))?;
        spans.extend(found.map(|first| (first, last)));
        Ok(())
    }

    pub(super) fn delete(&self, connection: &Connection, first: i64, last: i64) -> Result<usize, Error> {
        let text = format!("DELETE FROM {}_messages WHERE id BETWEEN ? AND ?", self.table);
        Ok(connection.prepare_cached(&text)?.execute([first, last])?)
    }

    /// Deletes up to `most` messages that nobody may see any more.
    pub(super) fn delete_expired(
        &self,
        connection: &Connection,
        now: i64,
        most: usize,
    ) -> Result<usize, Error> {
        let text = format!(
            "DELETE FROM {0}_messages WHERE id IN (SELECT id FROM {0}_messages WHERE expires_at <= ? LIMIT ?)",
            self.table
        );
        Ok(connection.prepare_cached(&text)?.execute([now, limit(most)])?)
    }
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The messages that have not expired, and the ids of all.
fn load(
    statement: &mut rusqlite::Statement<'_>,
    parameters: impl rusqlite::Params,
    now: i64,
) -> Result<(Vec<Loaded>, Vec<i64>), Error> {
    let mut rows = statement.query(parameters)?;
    let (mut messages, mut seen) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        seen.push(id);
        let expires_at: Option<i64> = row.get(1)?;
        if expires_at.is_none_or(|at| at > now) {
            let data: Vec<u8> = row.get(3)?;
            messages.push(Loaded { id, data: data.into(), metadata: row.get(2)? });
        }
    }
    Ok((messages, seen))
}
