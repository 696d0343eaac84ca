-- audit_used(digests...) no-writes
--
-- Read which references were used by invoices that left the store.
--
-- Returns {code, now, '', [1 or 0]}

local found = {}
for i, digest in ipairs(digests) do
    found[i] = is_used(digest) and 1 or 0
end
return {'ok', at, '', found}
