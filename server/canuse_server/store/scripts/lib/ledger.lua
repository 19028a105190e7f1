-- One append of so many, in the mean, takes the oldest events away: by whole groups, as many as there are.
local TRIM_EVERY = 16

-- Appends an event to the ledger and returns its id. `entry` is a serialised canuse.storage.v1.LedgerEntry without its tail,
-- which is applied_delta, used and budget as sfixed64, and the reason as a varint. Events older than RETENTION says may go.
local function append(ledger_key, manual_now, now, retention, entry, applied, used, reason, budget)
  entry = entry .. struct.pack('<Bi8Bi8BBBi8', 57, applied, 65, used, 72, reason, 81, budget)
  if manual_now == '' and now % TRIM_EVERY > 0 then return redis.call('XADD', ledger_key, '*', 'e', entry) end
  local oldest = math.max(0, now - struct.unpack(RETENTION, retention))
  if manual_now ~= '' then
    -- Refused where a later event is there already: the manual clock was moved while this use was on its way.
    local id = redis.pcall('XADD', ledger_key, 'MINID', '~', oldest, manual_now .. '-*', 'e', entry)
    if type(id) == 'string' then return id end
  end
  return redis.call('XADD', ledger_key, 'MINID', '~', oldest, '*', 'e', entry)
end
