-- Appends a batch of frames, each to its log: repetition check, number, history, expiry, publish.
--
-- KEYS  for each frame: the log's hash (also its channel), the log's stream
-- ARGV  1 epoch for logs that begin, 2 expiry in ms, 3 trim: '', '=' or '~', 4 frames to keep,
--       5 which frame's log to weigh: 0 for none, 6 bytes to keep; then for each frame: the state
--       that the node expects ('' if it cannot guess), the state after the frame, the entry id, and
--       the value: header (epoch 16, first sequence 8, number of messages 4), frame
--
-- Answers for each frame: 1 if the guess was right, so that the node knows all; or epoch and first
-- sequence, for a repetition those of the first time, or the epoch alone if the frame is older than
-- the publisher's last; or an error. 'STORED ' stands before the error of a frame that is stored.
--
-- Redis' Lua hashes every byte of every string it makes, and a call costs as much as what it does.
-- So a right guess, which is a comparison and three calls, takes half the time of anything else.
local fresh_epoch, ttl, trim, keep, weigh, keep_bytes = unpack(ARGV, 1, 6)
weigh = tonumber(weigh)
local stored

local function store(stream, id, value)
  if trim == '' then
    call('XADD', stream, id, 'f', value)
  else
    call('XADD', stream, 'MAXLEN', trim, keep, id, 'f', value)
  end
  stored = true
end

-- Forgets all but the 1,024 publishers that stored a frame most recently.
local function forget(meta)
  local fields = call('HGETALL', meta)
  local known = {}
  for f = 1, #fields, 2 do
    if #fields[f] == 16 then
      known[#known + 1] = { fields[f], unpack_number('>I8', fields[f + 1], 9) }
    end
  end
  table.sort(known, function(a, b) return a[2] < b[2] end)
  for p = 1, #known - 1024 do
    call('HDEL', meta, known[p][1])
  end
end

-- Keeps the memory of a log's frames within bounds.
local function lighten(stream)
  local bytes = call('MEMORY', 'USAGE', stream, 'SAMPLES', 0)
  if bytes and bytes > tonumber(keep_bytes) then
    local len = math.floor(call('XLEN', stream) * keep_bytes / bytes)
    call('XTRIM', stream, 'MAXLEN', math.max(len, 1))
  end
end

-- The frame was not the one that the log expected: somebody else published, time went on, or the
-- frame is a repetition.
local function look_and_append(i, meta, stream, state, after, value)
  local mark, publisher, counter, len = sub(after, 1, 12), sub(after, 29, 44), sub(after, 45, 52), sub(after, 61)
  local aged = not state or sub(state, 1, 12) ~= mark
  if aged then
    -- The number of the frame makes the epoch that log's own.
    local fresh = sub(fresh_epoch, 1, 14) .. pack('>I2', i)
    state = revive(meta, stream, state, mark, fresh)
  end
  local epoch, last_publisher = sub(state, 13, 28), sub(state, 29, 44)
  local next = unpack_number('>I8', state, 53)
  local last = sub(state, 45, 52) .. pack('>I8', next - unpack_number('>I4', state, 61))

  local known = last
  if last_publisher ~= publisher then
    known = call('HGET', meta, publisher)
  end
  if known and unpack_number('>I8', known) >= unpack_number('>I8', counter) then
    if aged then
      call('HSET', meta, 's', state)
      call('PEXPIRE', meta, ttl)
      call('PEXPIRE', stream, ttl)
    end
    if sub(known, 1, 8) == counter then
      return epoch .. sub(known, 9)
    end
    return epoch
  end

  local messages = unpack_number('>I4', len)
  local first, ends = pack('>I8', next), next + messages
  value = epoch .. first .. len .. sub(value, 29)
  store(stream, string.format('%.0f-%.0f', ends - 1, messages), value)
  after = mark .. epoch .. publisher .. counter .. pack('>I8', ends) .. len
  if last_publisher == publisher or last_publisher == string.rep('\0', 16) then
    call('HSET', meta, 's', after)
  elseif call('HSET', meta, 's', after, last_publisher, last) > 0 and call('HLEN', meta) > 2050 then
    forget(meta)
  end
  if aged then
    call('PEXPIRE', meta, ttl)
    call('PEXPIRE', stream, ttl)
  end
  call('PUBLISH', meta, value)
  return epoch .. first
end

local answers = {}
local i = 0

-- The frames after the i-th. Without a call for each, and without one to catch its error, a frame
-- takes an eighth less.
local function append()
  local call, keys, argv = call, KEYS, ARGV
  for n = i + 1, #keys / 2 do
    i, stored = n, false
    local meta, stream, a = keys[2 * n - 1], keys[2 * n], 4 * n
    local state, after, value = call('HGET', meta, 's'), argv[a + 4], argv[a + 6]
    if state == argv[a + 3] then
      store(stream, argv[a + 5], value)
      call('HSET', meta, 's', after)
      call('PUBLISH', meta, value)
      answers[n] = 1
    else
      answers[n] = look_and_append(n, meta, stream, state, after, value)
    end
    if n == weigh then
      lighten(stream)
    end
  end
end

-- What one frame fails of fails no other.
repeat
  local ok, answer = pcall(append)
  if not ok then
    answer = type(answer) == 'table' and answer.err or tostring(answer)
    -- Before version 7, place and dash stand before what Redis itself refuses.
    answer = string.match(answer, '^@[^:]*: %d+: %-?(.*)$') or answer
    answers[i] = { err = stored and 'STORED ' .. answer or answer }
  end
until ok
return answers
