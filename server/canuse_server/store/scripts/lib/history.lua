local function pack_past(period)
  return struct.pack(
    PAST_PERIOD, period.start, period.finish, period.used, period.budget, period.drawn, period.epoch
  )
end

-- Puts a period that is over at the head of past periods, and lets the oldest go. One in which nothing was used is not kept,
-- unless leases were taken in it: they may be settled yet.
local function with_past(past, kept, period)
  if kept == 0 or (period.used == 0 and period.epoch == 0) then return past end
  return string.sub(pack_past(period) .. past, 1, kept * PAST_PERIOD_BYTES)
end

local function archive(history_key, feature, kept, period)
  local past = redis.call('HGET', history_key, feature) or ''
  local new = with_past(past, kept, period)
  if new ~= past then redis.call('HSET', history_key, feature, new) end
end

-- Returns where the period stands in which the leases of an epoch were taken, and the period; nil: it is not among them.
local function find_past(past, wanted)
  for at = 1, #past, PAST_PERIOD_BYTES do
    local start, finish, used, budget, drawn, epoch = struct.unpack(PAST_PERIOD, past, at)
    if epoch == wanted then
      return at, { start = start, finish = finish, used = used, budget = budget, drawn = drawn, epoch = epoch }
    end
  end
end

local function replace_past(past, at, period)
  return string.sub(past, 1, at - 1) .. pack_past(period) .. string.sub(past, at + PAST_PERIOD_BYTES)
end
