-- Tells where a log stands, and makes it one that stays.
--
-- KEYS  the log's hash, its stream
-- ARGV  epoch for a log that begins, mark, expiry in ms
--
-- Answers with epoch and next sequence, and the id of the stream's oldest entry, '' if there is none.
local meta, stream = KEYS[1], KEYS[2]
local fresh, mark, ttl = ARGV[1], ARGV[2], ARGV[3]
local state = call('HGET', meta, 's')
if not state or sub(state, 1, 12) ~= mark then
  state = revive(meta, stream, state, mark, fresh)
  call('HSET', meta, 's', state)
  call('PEXPIRE', meta, ttl)
  call('PEXPIRE', stream, ttl)
end
local oldest = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
return { sub(state, 13, 28) .. sub(state, 53, 60), oldest and oldest[1] or '' }
