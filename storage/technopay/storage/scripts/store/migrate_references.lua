-- migrate_references(moves...)
--
-- Key references by their normal form, which only the caller can compute.
--
-- moves  five each: name, new name, invoice, reference in normal form, '1' if the payee is not in normal form:
--        codes are bound to that, so the invoice keeps it and says under which name its reference is found
--
-- Returns {code, now, '', [{invoice that stays as it is, invoice that has the new name}]}, with {invoice} for what
-- cannot be read

local references = key('references')

local function move(name, moved, id, reference, by_name)
    -- An invoice that is void or expired for good has given its reference away.
    if redis.call('HGET', references, name) ~= id then
        return nil
    end
    local other = redis.call('HGET', references, moved)
    if other and other ~= id then
        return {id, other}
    end
    fields('invoice', id, 'user') -- it has to be readable before anything is written
    redis.call('HSET', references, moved, id)
    redis.call('HSET', key('invoice', id), 'reference', reference,
        unpack(by_name == '1' and {'referred', moved} or {}))
    redis.call('HDEL', references, name)
    return nil
end

local kept = {}
for i = 1, #moves, 5 do
    local is_read, collision = pcall(move, unpack(moves, i, i + 4))
    kept[#kept + 1] = not is_read and {moves[i + 2]} or collision
end
return {'ok', at, '', kept}
