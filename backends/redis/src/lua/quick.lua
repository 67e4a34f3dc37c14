-- Appends one frame to a log that is where the node guesses it to be; does nothing to another.
--
-- KEYS  the log's hash (also its channel), its stream
-- ARGV  the state that the node expects, the state after the frame, the entry id, the value
--
-- Answers 1 if it is stored, 0 if the guess was wrong and nothing was done; or with an error.
-- 'STORED ' stands before the error of a frame that is stored.
--
-- `append.lua` does the same and more. For a lone frame, what that has to set up takes as long as
-- what it does.
local pcall, meta = redis.pcall, KEYS[1]

local function failure(answer, stored)
  -- Before version 7, place and dash stand before what Redis itself refuses.
  local why = string.match(answer.err, '^@[^:]*: %d+: %-?(.*)$') or answer.err
  return { err = stored .. why }
end

local state = pcall('HGET', meta, 's')
if state ~= ARGV[1] then
  return type(state) == 'table' and failure(state, '') or 0
end
local added = pcall('XADD', KEYS[2], ARGV[3], 'f', ARGV[4])
if type(added) == 'table' then
  return failure(added, '')
end
local set = pcall('HSET', meta, 's', ARGV[2])
local published = pcall('PUBLISH', meta, ARGV[4])
if type(set) == 'table' then
  return failure(set, 'STORED ')
end
if type(published) == 'table' then
  return failure(published, 'STORED ')
end
return 1
