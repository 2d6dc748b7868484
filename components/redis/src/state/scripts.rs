//! What runs inside the server, so that check and write are one step.

use redis::{Cmd, cmd};

/// Code of the error with which a set script reports that the write was done
/// but its expiry could not be set.
pub(super) const TTL_ERROR: &str = "TTL";

/// KEYS[1]; ARGV: expected version, data, `0` to mark as first-write, TTL or ''.
const SET: &str = r"
local key, expected = KEYS[1], ARGV[1]
local version = redis.pcall('HGET', key, 'version')
if type(version) == 'table' then
  redis.call('DEL', key)
  version = false
end
if version and version ~= '' and version ~= expected then
  local marked = redis.pcall('HGET', key, 'first-write')
  if marked or expected ~= '0' then
    return redis.error_reply('ERR failed to set key ' .. key)
  end
end
redis.call('HSET', key, 'data', ARGV[2])
if ARGV[3] == '0' then
  redis.call('HSET', key, 'first-write', 0)
end
version = redis.call('HINCRBY', key, 'version', 1)
local ttl = ARGV[4]
if ttl and ttl ~= '' then
  local done
  if string.sub(ttl, 1, 1) ~= '-' and ttl ~= '0' then
    done = redis.pcall('EXPIRE', key, ttl)
  else
    done = redis.pcall('PERSIST', key)
  end
  if type(done) == 'table' and done.err then
    return redis.error_reply('TTL ' .. done.err)
  end
end
return version
";

/// KEYS[1]; ARGV: expected version.
const DELETE: &str = r"
local key, expected = KEYS[1], ARGV[1]
local version = redis.pcall('HGET', key, 'version')
if version and type(version) ~= 'table' and version ~= '' and version ~= expected and expected ~= '0' then
  return redis.error_reply('ERR failed to delete ' .. key)
end
return redis.call('DEL', key)
";

/// As [`SET`], for a JSON document.
const SET_JSON: &str = r"
local key, expected = KEYS[1], ARGV[1]
local version = redis.pcall('JSON.GET', key, '.version')
if type(version) == 'table' then
  redis.call('JSON.DEL', key)
  version = false
end
if not version or version == '' then
  version = expected
end
if version ~= expected then
  local marked = redis.pcall('JSON.GET', key, '.first-write')
  if (marked and type(marked) ~= 'table') or expected ~= '0' then
    return redis.error_reply('ERR failed to set key ' .. key)
  end
end
redis.call('JSON.SET', key, '$', ARGV[2])
if ARGV[3] == '0' then
  redis.call('JSON.SET', key, '.first-write', 0)
end
redis.call('JSON.SET', key, '.version', version + 1)
local ttl = ARGV[4]
if ttl and ttl ~= '' then
  local done
  if string.sub(ttl, 1, 1) ~= '-' and ttl ~= '0' then
    done = redis.pcall('EXPIRE', key, ttl)
  else
    done = redis.pcall('PERSIST', key)
  end
  if type(done) == 'table' and done.err then
    return redis.error_reply('TTL ' .. done.err)
  end
end
return version + 1
";

/// As [`DELETE`], for a JSON document.
const DELETE_JSON: &str = r"
local key, expected = KEYS[1], ARGV[1]
local version = redis.pcall('JSON.GET', key, '.version')
if version and type(version) ~= 'table' and version ~= '' and version ~= expected and expected ~= '0' then
  return redis.error_reply('ERR failed to delete ' .. key)
end
return redis.call('JSON.DEL', key)
";

pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    pub(super) fn text(&self) -> &'static str {
        self.text
    }

    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// Makes the server know the hash.
    pub(super) fn load_command(&self) -> Cmd {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(self.text);
        load
    }
}

pub(super) struct Scripts {
    pub(super) set: Script,
    pub(super) delete: Script,
    pub(super) set_json: Script,
    pub(super) delete_json: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            set: Script::new(SET),
            delete: Script::new(DELETE),
            set_json: Script::new(SET_JSON),
            delete_json: Script::new(DELETE_JSON),
        }
    }
}
