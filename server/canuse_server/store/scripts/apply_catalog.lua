-- Writes many items of the catalogue at once, if the catalogue has not changed since the caller read it, notes each in
-- the log of changes, and tells every server.
--
-- KEYS  1 the catalogue's stamp   2 the log of changes, a stream whose ids are stamps   3 the hash of features
--       4 the index of their ids   5 the hash of packages   6 the index of their ids   7 the hash of published versions
--       8 the catalogue's audit log
-- ARGV  1 the stamp as the caller read it, '' before the first change   2 the channel to tell
--       3 the random part of the new stamps   4 how many changes to keep
--       5 the entry of the audit log, '' for none   6 its maximum age in ms   7 now in ms, or '' for Redis's clock
--       8 how many features follow, each an id and the new feature
--       then for each package: id, the new package, '' or the field in KEYS[7] of a version that is published, and this
--       version
-- Returns the new stamp, or '' if the catalogue has changed since; then nothing was written.
-- include: clock
-- include: audit
assert(#KEYS == 8 and #ARGV > 8, 'apply_catalog takes 8 keys and more than 8 arguments')
local first_package = 9 + 2 * tonumber(ARGV[8])
assert((#ARGV + 1 - first_package) % 4 == 0, 'apply_catalog takes 4 arguments for each package')

local before = redis.call('GET', KEYS[1]) or ''
if before ~= ARGV[1] then return '' end
local number = tonumber(string.match(before, '^%d+') or '0')
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local stamp
local function put(kind, items, index, id, item)
  redis.call('HSET', items, id, item)
  redis.call('ZADD', index, 0, id)
  number = number + 1
  stamp = string.format('%d-%s', number, ARGV[3])
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], stamp, kind, id)
end
-- From here on it writes. A log that does not end with the stamp is not the one of this catalogue.
if last and last[1] ~= before then redis.call('UNLINK', KEYS[2]) end
for i = 9, first_package - 1, 2 do put('feature', KEYS[3], KEYS[4], ARGV[i], ARGV[i + 1]) end
for i = first_package, #ARGV, 4 do
  put('package', KEYS[5], KEYS[6], ARGV[i], ARGV[i + 1])
  if ARGV[i + 2] ~= '' then redis.call('HSET', KEYS[7], ARGV[i + 2], ARGV[i + 3]) end
end
redis.call('SET', KEYS[1], stamp)
redis.call('PUBLISH', ARGV[2], stamp)
audit(KEYS[8], ARGV[5], ARGV[6], ARGV[7])
return stamp
