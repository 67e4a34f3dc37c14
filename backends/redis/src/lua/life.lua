-- Shared by the scripts: where a log stands.
--
-- The hash of a log has a field `s`, its state, 64 bytes, numbers big-endian:
--   1   mark: the server's run (8 bytes) and the slice of time when the expiry was put off (4)
--   13  epoch (16)
--   29  who published the last frame (16; zeros: nobody yet)
--   45  that frame's counter (8)
--   53  the sequence that comes next (8)
--   61  how many messages that frame holds (4)
-- and for every other publisher a field of its id: its last frame's counter (8) and sequence (8).
local call, sub = redis.call, string.sub
local pack, unpack_number = struct.pack, struct.unpack

-- The state, for one whose mark is not the present one. A log that has no state, or has it from
-- another run of the server, begins a new life: after a restart or a failover nobody knows whether
-- the data is all there, and a number must never be given twice.
local function revive(meta, stream, state, mark, fresh)
  if state and sub(state, 1, 8) == sub(mark, 1, 8) then
    return mark .. sub(state, 13)
  end
  if state then
    call('UNLINK', meta)
  end
  if call('EXISTS', stream) == 1 then
    call('UNLINK', stream)
  end
  return mark .. fresh .. string.rep('\0', 24) .. pack('>I8', 1) .. pack('>I4', 0)
end

