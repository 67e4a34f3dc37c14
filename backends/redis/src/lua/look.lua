-- Tells where a log stands, and makes it one that stays.
--
-- KEYS  the log's hash, its stream
-- ARGV  epoch for a log that begins, mark, expiry in ms
--
-- Answers with the state and the id of the stream's oldest entry, '' if there is none.
local meta, stream = KEYS[1], KEYS[2]
local fresh, mark, ttl = ARGV[1], ARGV[2], ARGV[3]
local found = call('HMGET', meta, 's', 'x')
local state = found[1]
if found[2] ~= mark then
  state = revive(meta, stream, state, found[2], mark, fresh)
  call('HSET', meta, 's', state, 'x', mark)
  call('PEXPIRE', meta, ttl)
  call('PEXPIRE', stream, ttl)
end
local oldest = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
return { state, oldest and oldest[1] or '' }
