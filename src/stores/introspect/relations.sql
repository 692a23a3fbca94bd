-- The tables and views of a schema, one JSON object each. Constraints that a partition has from its
-- table, and foreign keys that stand again for each partition that they point to, have a parent and
-- are left out.
select jsonb_strip_nulls(jsonb_build_object(
    'name', c.relname,
    'kind', c.relkind,
    'row_security', c.relrowsecurity,
    'security_invoker', exists (
        select from pg_catalog.pg_options_to_table(c.reloptions) o
        where o.option_name = 'security_invoker' and o.option_value in ('true', 'on', '1', 'yes')),
    'columns', (
        select jsonb_agg(jsonb_build_object(
            'name', a.attname,
            'type', pg_catalog.format_type(a.atttypid, null),
            'not_null', a.attnotnull,
            'numbered', a.attidentity <> '' or coalesce(
                pg_catalog.pg_get_expr(d.adbin, d.adrelid) like 'nextval(%', false)
        ) order by a.attnum)
        from pg_catalog.pg_attribute a
        left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
    'constraints', (
        select jsonb_agg(jsonb_build_object(
            'name', k.conname,
            'kind', k.contype,
            'columns', (
                select jsonb_agg(a.attname order by u.place)
                from unnest(k.conkey) with ordinality u(number, place)
                join pg_catalog.pg_attribute a
                    on a.attrelid = k.conrelid and a.attnum = u.number),
            'schema', tn.nspname,
            'table', t.relname,
            'target_columns', (
                select jsonb_agg(a.attname order by u.place)
                from unnest(k.confkey) with ordinality u(number, place)
                join pg_catalog.pg_attribute a
                    on a.attrelid = k.confrelid and a.attnum = u.number)
        ) order by k.conname collate "C")
        from pg_catalog.pg_constraint k
        left join pg_catalog.pg_class t on t.oid = k.confrelid
        left join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
        where k.conrelid = c.oid and k.contype in ('p', 'u', 'f') and k.conparentid = 0),
    'indexes', (
        select jsonb_agg(jsonb_build_object(
            'name', ic.relname,
            'unique', i.indisunique,
            'primary', i.indisprimary,
            'partial', i.indpred is not null,
            'columns', (
                select jsonb_agg(a.attname order by u.place)
                from unnest(i.indkey::int2[]) with ordinality u(number, place)
                left join pg_catalog.pg_attribute a
                    on a.attrelid = i.indrelid and a.attnum = u.number and u.number > 0
                where u.place <= i.indnkeyatts)
        ) order by ic.relname collate "C")
        from pg_catalog.pg_index i
        join pg_catalog.pg_class ic on ic.oid = i.indexrelid
        where i.indrelid = c.oid and i.indisvalid)
))
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1
    and c.relkind in ('r', 'p', 'f', 'v', 'm')
    and not c.relispartition
    and not exists (
        select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
            and d.objid = c.oid and d.deptype = 'e')
order by c.relname collate "C"
limit 10001
