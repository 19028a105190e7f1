-- The current period of an entitlement.
local HOUR, DAY, WEEK = 2, 3, 4
local HOUR_MS, DAY_MS, WEEK_MS = 3600000, 86400000, 604800000

-- Returns when it started, and its length in ms if that is fixed: such periods roll by themselves.
local function current_start(reset_period, start, now)
  local length = reset_period == DAY and DAY_MS or reset_period == HOUR and HOUR_MS or reset_period == WEEK and WEEK_MS
  if length and now > start then start = start + math.floor((now - start) / length) * length end
  return start, length
end
