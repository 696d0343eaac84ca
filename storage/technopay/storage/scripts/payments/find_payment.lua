-- find_payment(payment_id) no-writes
--
-- Read a payment of any user.
--
-- Returns {code, now, '', view}

if not exists('payment', payment_id) then
    return {'payment_not_found', at, ''}
end
return {'ok', at, '', view(payment_id)}
