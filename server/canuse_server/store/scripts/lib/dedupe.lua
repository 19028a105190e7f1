-- The stored answers of a user's event ids, in four hashes. Each expires as a whole at its own time.
--
-- An id goes into a hash that expires in one to two of the id's ttls. If there is none, a hash that has expired is emptied, and
-- expires two ttls from then. So an id is kept for one to two of its ttls, no job sweeps ids, and deleting a user is four UNLINKs.
-- For each ttl two hashes alternate, and callers use two ttls: the longest, and a short one for ids that are only for the retries
-- of a single call.
--
-- The user's field `d` has the four times, as MOMENTS, after the first event id; 0: the hash was never used. A hash has a field
-- for each id: its name is the keyed digest of the id, its value the fingerprint of the content and the stored outcome. Both are
-- short, so that an id takes little memory.
--
-- A script that includes this declares the functions before: record_usage defines them only for a call with an event id.

-- Returns the number of the hash, from 1, into which an id with this ttl goes; nil if dedupe_begin has to choose one.
function dedupe_open(now, ttl, a, b, c, d)
  local least, most = now + ttl, now + 2 * ttl
  return a > least and a <= most and 1 or b > least and b <= most and 2
    or c > least and c <= most and 3 or d > least and d <= most and 4 or nil
end

-- Returns the stored value of an id in any hash except the one with the number `open`, otherwise nil or false. KEYS[first] is the
-- first hash. A hash that has expired is also read until it is emptied, so that a clock that steps back and forth forgets nothing.
function dedupe_find(first, id, open, a, b, c, d)
  return a > 0 and open ~= 1 and redis.call('HGET', KEYS[first], id)
    or b > 0 and open ~= 2 and redis.call('HGET', KEYS[first + 1], id)
    or c > 0 and open ~= 3 and redis.call('HGET', KEYS[first + 2], id)
    or d > 0 and open ~= 4 and redis.call('HGET', KEYS[first + 3], id)
end

-- Returns the answer to a call with a known id: 'R' and the stored outcome, or 'X' if the content is different.
function dedupe_replay(kept, fingerprint)
  if string.sub(kept, 1, FINGERPRINT_BYTES) ~= fingerprint then return 'X' end
  return 'R' .. string.sub(kept, FINGERPRINT_BYTES + 1)
end
