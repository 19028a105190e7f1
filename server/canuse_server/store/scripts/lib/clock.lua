-- The time in milliseconds: Redis's own, or what the caller passes where the server runs on a manual clock.
local function clock(manual_now)
  if manual_now ~= '' then return tonumber(manual_now) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
