-- Puts a period that is over at the head of a feature's past periods, and lets the oldest go.
local function archive(history_key, feature, kept, period_start, period_end, used, budget, drawn)
  if kept == 0 or used == 0 then return end
  local past = redis.call('HGET', history_key, feature) or ''
  local record = struct.pack(PAST_PERIOD, period_start, period_end, used, budget, drawn)
  redis.call('HSET', history_key, feature, string.sub(record .. past, 1, kept * PAST_PERIOD_BYTES))
end
