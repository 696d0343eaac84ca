-- read_terms(keys=[journal], args=[invoices...])
--
-- Read of invoices what the code of a payment is bound to.
--
-- Returns {code, now, '', [{user, amount, currency, merchant}]}, in the order asked; without a user there is no invoice
--@include base

local terms = {}
for i, id in ipairs(ARGV) do
    terms[i] = {fields('invoice', id, 'user', 'amount', 'currency', 'merchant')}
end
return {'ok', at, '', terms}
