-- read_meta(keys=[journal], args=[])
--
-- Read what the store says of itself.
--
-- Returns {code, now, '', fields}; no fields when it was never initialised.
--@include base
--@include record

return {'ok', at, '', flat(read('meta'))}
