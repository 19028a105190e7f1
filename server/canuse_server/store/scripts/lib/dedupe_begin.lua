-- Stores `value` under an id for which dedupe_open finds no hash; returns the user's new field `d`, which the caller writes.
local function dedupe_begin(first, id, value, now, ttl, longest, ...)
  if math.max(...) == 0 then
    -- The user's first id, in half the time.
    redis.call('HSET', KEYS[first], id, value)
    redis.call('PEXPIRE', KEYS[first], 2 * ttl)
    return struct.pack(MOMENTS, now + 2 * ttl, 0, 0, 0)
  end
  local ends = { ... }
  for i = 1, 4 do
    if ends[i] > now + 2 * longest then
      -- It was opened under a clock that ran ahead, or while the longest ttl was longer.
      ends[i] = now + 2 * longest
      redis.call('PEXPIRE', KEYS[first + i - 1], 2 * longest)
    end
  end
  local open = dedupe_open(now, ttl, unpack(ends))
  for i = 1, 3, 2 do
    -- Two hashes alternate; the second pair is used only while neither of the first pair has expired.
    local over = ends[i] <= ends[i + 1] and i or i + 1
    if not open and ends[over] <= now then
      open = over
      redis.call('UNLINK', KEYS[first + open - 1])
    end
  end
  if not open then
    -- None has expired, because callers use more than two ttls: the one that expires last takes the id as well.
    open = 1
    for i = 2, 4 do
      if ends[i] > ends[open] then open = i end
    end
  end
  redis.call('HSET', KEYS[first + open - 1], id, value)
  if ends[open] <= now + ttl then
    ends[open] = now + 2 * ttl
    redis.call('PEXPIRE', KEYS[first + open - 1], 2 * ttl)
  end
  return struct.pack(MOMENTS, unpack(ends))
end
