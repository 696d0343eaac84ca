-- audit_users(keys=[journal], args=[ids...])
--
-- Read users at one position of the journal.
--
-- Returns {code, now, '', position, [status or '']}
--@include base
--@include position

local found = {}
for i, id in ipairs(ARGV) do
    found[i] = fields('user', id, 'status') or ''
end
return {'ok', at, '', position(), found}
