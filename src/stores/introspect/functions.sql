-- The functions of a schema, one JSON object each, with the arguments that a caller gives.
select jsonb_strip_nulls(jsonb_build_object(
    'name', p.proname,
    'plain', p.prokind = 'f'
        and p.prorettype not in ('pg_catalog.trigger'::pg_catalog.regtype,
            'pg_catalog.event_trigger'::pg_catalog.regtype),
    'definer', p.prosecdef,
    'volatility', p.provolatile,
    'returns_set', p.proretset,
    'returns', pg_catalog.format_type(p.prorettype, null),
    'returns_rows_of', (
        select c.relname
        from pg_catalog.pg_type t
        join pg_catalog.pg_class c on c.oid = t.typrelid
        where t.oid = p.prorettype and c.relnamespace = n.oid
            and c.relkind in ('r', 'p', 'f', 'v', 'm')),
    'arguments', (
        select jsonb_agg(jsonb_build_object(
            'name', coalesce(p.proargnames[u.place], ''),
            'type', pg_catalog.format_type(u.type, null),
            'row_of', (
                select c.relname
                from pg_catalog.pg_type t
                join pg_catalog.pg_class c on c.oid = t.typrelid
                where t.oid = u.type and c.relnamespace = n.oid)
        ) order by u.place)
        from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) with ordinality u(type, place)
        where coalesce(p.proargmodes[u.place], 'i') in ('i', 'b', 'v'))
))
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname = $1
    and not exists (
        select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
            and d.objid = p.oid and d.deptype = 'e')
order by p.proname collate "C", pg_catalog.pg_get_function_identity_arguments(p.oid) collate "C"
limit 10001
