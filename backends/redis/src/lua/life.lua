-- Shared by the scripts: which life of a log is this?
--
-- The hash of a log has these fields:
--   s  state: epoch (16 bytes), then the next sequence in decimal
--   x  mark: the server's run (8 bytes), then the slice of time of its last expiry update
--   a publisher's id (16 bytes): counter of its last frame (20 digits), then that frame's sequence
local call, sub = redis.call, string.sub

-- The state of a log whose mark is not the present one. A log that has no state, or has it from
-- another run of the server, begins a new life: after a restart or a failover nobody knows whether
-- the data is all there, and a number must never be given twice.
local function revive(meta, stream, state, found, mark, fresh)
  if state and found and sub(found, 1, 8) == sub(mark, 1, 8) then
    return state, false
  end
  if state then
    call('UNLINK', meta)
  end
  if call('EXISTS', stream) == 1 then
    call('UNLINK', stream)
  end
  return fresh .. '1', true
end

