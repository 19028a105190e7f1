-- Reads and stores the answer of an event id, given as EVENT. The short way of record_usage does the same in less time.

-- Returns the answer to a call whose id is known, otherwise nil. `moments` is the user's field `d`.
local function event_answer(first, event, moments)
  if not moments then return nil end
  local id, fingerprint = struct.unpack(EVENT, event)
  local kept = dedupe_find(first, id, nil, struct.unpack(MOMENTS, moments))
  return kept and dedupe_replay(kept, fingerprint) or nil
end

-- Stores the outcome of a call under its id.
local function event_store(user_key, first, event, moments, outcome, now)
  local id, fingerprint, ttl, longest = struct.unpack(EVENT, event)
  local a, b, c, d = struct.unpack(MOMENTS, moments or string.rep('\0', 24))
  local open = dedupe_open(now, ttl, a, b, c, d)
  if open then
    redis.call('HSET', KEYS[first + open - 1], id, fingerprint .. outcome)
  else
    redis.call('HSET', user_key, 'd', dedupe_begin(first, id, fingerprint .. outcome, now, ttl, longest, a, b, c, d))
  end
end
