-- What was answered under a user's idempotency keys, in two hashes that take turns.
--
-- A hash is open for new keys for one ttl; then the other one, whose keys are all older than the ttl by then, is
-- emptied and opened. So every key is kept for at least a ttl, nothing is swept, and erasing a user is two UNLINKs.
-- The field '' holds when a hash closes; a key's field is 'i' and the key.
local function dedupe_find(a, b, event_id)
  local field = 'i' .. event_id
  return redis.call('HGET', a, field) or redis.call('HGET', b, field)
end

-- Returns what a call under a known key is answered, 'R' and the first outcome, or 'X' where the content is another; else nil.
local function dedupe_answer(a, b, event_id, fingerprint)
  local known = event_id ~= '' and dedupe_find(a, b, event_id)
  if not known then return nil end
  if string.sub(known, 1, 8) ~= fingerprint then return 'X' end
  return 'R' .. string.sub(known, 9)
end

local function dedupe_store(a, b, event_id, value, now, ttl)
  local a_closes = tonumber(redis.call('HGET', a, '') or 0)
  local b_closes = tonumber(redis.call('HGET', b, '') or 0)
  local open = a
  if b_closes > a_closes then open = b end
  if math.max(a_closes, b_closes) > now + ttl then
    -- Opened under a clock that ran ahead, or a longer ttl: it would be open for as long as that.
    a_closes, b_closes = now + ttl, now + ttl
    redis.call('HSET', open, '', string.format('%.0f', now + ttl))
    redis.call('PEXPIRE', open, string.format('%.0f', 2 * ttl))
  end
  if math.max(a_closes, b_closes) <= now then
    open = (open == a) and b or a
    redis.call('UNLINK', open)
    redis.call('HSET', open, '', string.format('%.0f', now + ttl))
    redis.call('PEXPIRE', open, string.format('%.0f', 2 * ttl))
  end
  redis.call('HSET', open, 'i' .. event_id, value)
  -- Where the ttl was raised since the hash was opened, it would go too early.
  redis.call('PEXPIRE', open, string.format('%.0f', ttl), 'GT')
end
