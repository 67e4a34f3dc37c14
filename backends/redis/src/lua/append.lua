-- Appends a batch of frames, each to its log: repetition check, number, history, expiry, publish.
--
-- KEYS  for each frame: the log's hash (also its channel), the log's stream
-- ARGV  1 epoch for logs that begin, 2 mark, 3 expiry in ms, 4 trim: '', '=' or '~', 5 frames to
--       keep, 6 which frame's log to weigh: 0 for none, 7 bytes to keep; then for each frame:
--       publisher, counter (20 digits), number of messages, and the node's guess: the state it
--       expects, the state after it, the entry id; then the value: header (with a guess), frame
--
-- Answers for each frame: the state before it, which is epoch and first sequence; for a repetition
-- the same of the first time, or the epoch alone if the frame is older than the publisher's last;
-- or an error. 'STORED ' stands before the error of a frame that is stored.
--
-- It counts: Redis' Lua hashes every byte of every string it makes, so that putting a header before
-- a frame costs as much as storing it. A node that guesses the log's state right saves that.
local epoch, mark, ttl, trim, keep, weigh, keep_bytes = unpack(ARGV, 1, 7)
weigh = tonumber(weigh)
local stored

-- Forgets all but the 1,024 publishers that stored a frame most recently.
local function forget(meta)
  local fields = call('HGETALL', meta)
  local known = {}
  for f = 1, #fields, 2 do
    if #fields[f] == 16 then
      known[#known + 1] = { fields[f], tonumber(sub(fields[f + 1], 21)) }
    end
  end
  table.sort(known, function(a, b) return a[2] < b[2] end)
  for p = 1, #known - 1024 do
    call('HDEL', meta, known[p][1])
  end
end

-- Keeps the log's bytes within bounds.
local function lighten(stream)
  local bytes = call('MEMORY', 'USAGE', stream, 'SAMPLES', 0)
  if bytes and bytes > tonumber(keep_bytes) then
    local len = math.floor(call('XLEN', stream) * keep_bytes / bytes)
    call('XTRIM', stream, 'MAXLEN', math.max(len, 1))
  end
end

local function append(i)
  local meta, stream, a = KEYS[2 * i - 1], KEYS[2 * i], 7 * i
  local publisher, counter, len, expected = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local found = call('HMGET', meta, 's', 'x', publisher)
  local state, last, aged = found[1], found[3], found[2] ~= mark
  if aged then
    local begun
    -- The number of the frame makes the epoch that log's own.
    local fresh = sub(epoch, 1, 14) .. string.char(math.floor(i / 256), i % 256)
    state, begun = revive(meta, stream, state, found[2], mark, fresh)
    if begun then last = false end
  end

  if last and sub(last, 1, 20) >= counter then
    if aged then
      call('HSET', meta, 'x', mark)
      call('PEXPIRE', meta, ttl)
      call('PEXPIRE', stream, ttl)
    end
    if sub(last, 1, 20) == counter then
      return sub(state, 1, 16) .. sub(last, 21)
    end
    return sub(state, 1, 16)
  end

  local after, id, value = ARGV[a + 5], ARGV[a + 6], ARGV[a + 7]
  if state ~= expected then
    if expected ~= '' then
      value = sub(value, #expected + #len + 3)
    end
    value = state .. '-' .. len .. ' ' .. value
    local next = sub(state, 17) + len
    after = sub(state, 1, 16) .. next
    id = (next - 1) .. '-' .. len
  end
  if trim == '' then
    call('XADD', stream, id, 'f', value)
  else
    call('XADD', stream, 'MAXLEN', trim, keep, id, 'f', value)
  end
  stored = true
  local receipt = counter .. sub(state, 17)
  if aged then
    call('HSET', meta, 's', after, publisher, receipt, 'x', mark)
    call('PEXPIRE', meta, ttl)
    call('PEXPIRE', stream, ttl)
  else
    call('HSET', meta, 's', after, publisher, receipt)
  end
  call('PUBLISH', meta, value)
  if not last and call('HLEN', meta) > 2050 then
    forget(meta)
  end
  if i == weigh then
    lighten(stream)
  end
  return state
end

local answers = {}
for i = 1, #KEYS / 2 do
  stored = false
  local ok, answer = pcall(append, i)
  if not ok then
    answer = type(answer) == 'table' and answer.err or tostring(answer)
    answer = { err = stored and 'STORED ' .. answer or answer }
  end
  answers[i] = answer
end
return answers
