-- read_meta() no-writes
--
-- Read what the store says of itself.
--
-- Returns {code, now, '', fields}; no fields when it was never initialised.

return {'ok', at, '', flat(read('meta'))}
