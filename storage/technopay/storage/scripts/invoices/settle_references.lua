-- settle_references(references...) allow-oom
--
-- Note that the invoices of references leave the store.
--
-- references  four each: invoice, its reference as its merchant's (see shared/reference.lua), the digest, and '1' if the
--             invoice was paid: then the reference stays used; else it is free
--
-- Returns {code, now, ''}

for i = 1, #references, 4 do
    local invoice_id, referred, digest, is_paid = unpack(references, i, i + 3)
    local holder = string.match(redis.call('HGET', key('references'), referred) or '', '^%S+')
    if is_paid == '1' and (not holder or holder == invoice_id) then
        add_used(digest)
    end
    if holder == invoice_id then
        redis.call('HDEL', key('references'), referred)
    end
end
return {'ok', at, ''}
