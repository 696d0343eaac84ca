-- migrate_references(moves...)
--
-- Key references by their normal form, which only the caller can compute.
--
-- moves  five each: name, new name, invoice, reference in normal form, '1' if the payee is not in normal form:
--        codes are bound to that, so the invoice keeps it and says under which name its reference is found
--
-- Returns {code, now, '', [{invoice that stays as it is, invoice that has the new name}]}

local references = key('references')
local kept = {}
for i = 1, #moves, 5 do
    local name, moved, id, reference, by_name = unpack(moves, i, i + 4)
    -- The reference of an invoice that cannot be read stays as it is.
    if redis.call('HGET', references, name) == id and pcall(fields, 'invoice', id, 'user') then
        local other = redis.call('HGET', references, moved)
        if other and other ~= id then
            kept[#kept + 1] = {id, other}
        else
            redis.call('HSET', references, moved, id)
            redis.call('HSET', key('invoice', id), 'reference', reference,
                unpack(by_name == '1' and {'referred', moved} or {}))
            redis.call('HDEL', references, name)
        end
    end
end
return {'ok', at, '', kept}
