-- How many entries an audit log has at most.
local MAX_AUDIT_ENTRIES = 10000

-- Appends an entry, a serialised canuse.storage.v1.AuditEntry, to an audit log; '' is none. Entries that are older than
-- `max_age`, in ms, are removed with the next one that is appended, and all of them when that much time has passed without one.
local function audit(key, entry, max_age, manual_now)
  if entry == '' then return end
  local oldest = string.format('%.0f', math.max(0, clock(manual_now) - max_age))
  local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  -- One XADD trims by age or by length.
  local how, limit = 'MAXLEN', MAX_AUDIT_ENTRIES
  if first and tonumber(string.match(first[1], '^%d+')) < tonumber(oldest) then how, limit = 'MINID', oldest end
  if manual_now == '' then
    redis.call('XADD', key, how, '=', limit, '*', 'e', entry)
    redis.call('PEXPIRE', key, max_age)
    return
  end
  -- Refused where a later entry is there already: the manual clock was moved while this change was on its way.
  if type(redis.pcall('XADD', key, how, '=', limit, manual_now .. '-*', 'e', entry)) ~= 'string' then
    redis.call('XADD', key, how, '=', limit, '*', 'e', entry)
  end
end
