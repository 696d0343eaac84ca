-- audit_slice(kind, name) no-writes
--
-- Read the slice of a limit in a partition (kind 'limit'), or its quota in its home ('quota').
--
-- Returns {code, now, '', fields}

return {'ok', at, '', flat(read(kind, name))}
