-- Takes or keeps the turn to trim, of which one server has it at a time, and reads or writes how far the pass has come.
--
-- KEYS  1 the turn   2 the progress
-- ARGV  1 a name of the server, '' to only look   2 how long it has the turn unless it comes again, in ms
--       3 the progress to write if it has the turn, '' for none
-- Returns 1 if it has the turn, otherwise 0; the progress, '' for none; and the time of Redis's clock in ms.
-- include: clock
assert(#KEYS == 2 and #ARGV == 3, 'trim_turn takes 2 keys and 3 arguments')

local has_turn = ARGV[1] ~= '' and (redis.call('GET', KEYS[1]) or ARGV[1]) == ARGV[1]
if has_turn then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3]) end
end
return { has_turn and 1 or 0, redis.call('GET', KEYS[2]) or '', clock('') }
