-- reserve_reference(operation_id, fingerprint, merchant, reference, invoice_id, replaced, digest)
--
-- Reserve a reference in its home, for an invoice that is created next in the partition of its user.
--
-- replaced  the invoice that has the reference and frees it, '' for none
-- digest    of the reference, see shared/used_references.lua
--
-- Returns {code, now, '', invoice}: 'ok' with the invoice of the operation, also of an earlier call of it; or
-- 'reference_used' with the one that has the reference; 'reference_archived' if that left the store.

local referred = referred_as(merchant, reference)
local holder, reserved_by = string.match(redis.call('HGET', key('references'), referred) or '', '^(%S+) (%S+)')
if reserved_by == operation_id then
    return {'ok', at, '', holder}
elseif holder and holder ~= replaced then
    return {'reference_used', at, '', holder}
elseif not holder and is_used(digest) then
    return {'reference_archived', at, ''}
end
redis.call('HSET', key('references'), referred, invoice_id .. ' ' .. operation_id .. ' ' .. fingerprint)
redis.call('ZADD', key('agenda'), int(now + RESERVED_MS), 'ref_' .. referred)
return {'ok', at, '', invoice_id}
