-- read_payment(keys=[journal], args=[payment, user])
--
-- Read one payment; with a user, only one that belongs to that user.
--
-- Returns {code, now, '', view}
--@include base
--@include pack
--@include payment

local id, user_id = unpack(ARGV, 1, 2)

local payer = fields('payment', id, 'user')
if not payer or (user_id ~= '' and payer ~= user_id) then
    return {'payment_not_found', at, ''}
end
return {'ok', at, '', view(id)}
