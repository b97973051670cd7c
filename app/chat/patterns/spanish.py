"""Spanish. Accents are folded: "qué" is "que", "años" is "anos"."""

from app.chat.patterns import Patterns, listed

_PLURAL = (
    r"(?!(?:es|eres|haces|tienes|puedes|sabes|opinas|piensas|significas|estas|crees|quieres|mas"
    r"|menos|gratis|kubernetes|postgres|aws|keras|pandas|redis|css|js|entonces|ademas|propones"
    r"|recomiendas|conoces|buscas|necesitas|usas|vas|ofreces|aconsejas) )\w+s"
)
_TODO = r"tod[oa]s(?! (?:modos|formas|partes|maneras|luces) )"
_WHOLE = (
    r"(?:complet[oa]s?|general(?:es)?|exhaustiv[oa]s?|global(?:es)?|detallad[oa]s?|enter[oa]s?"
    r"|integral|total)"
)
_WORK = (
    r"(?:listas?|listado|resumen|vision|panorama|informe|inventario|descripcion|catalogo|repaso"
    r"|analisis|portafolio|portfolio|coleccion|documentacion|reporte|recorrido|relacion|guia|documento)"
)
_FOR_WHAT = r"(?:(?:en|con|de|a|para|sobre|desde) )?"

SPANISH = Patterns(
    small_talk=(
        r"buen(?:os|as) (?:dias|tardes|noches)",
        r"buen dia",
        r"hola+",
        r"ola",
        r"buenas",
        r"saludos",
        r"(?:muchas |muchisimas |mil )?gracias(?: (?:por (?:tu|la|su|todo|tu gran) ?(?:ayuda"
        r"|respuesta|tiempo)?|de nuevo|de antemano))?",
        r"por fa(?:vor)?",
        r"porfa(?:vor)?",
        r"ok(?:ey)?",
        r"vale",
        r"si",
        r"no",
        r"claro(?: que (?:si|no))?",
        r"de acuerdo",
    ),
    alone=(
        r"como (?:estas|esta|estan|andas|va|te va|va todo|vas)(?: hoy)?",
        r"que (?:tal|hay|hubo|pasa|onda)(?: (?:estas|todo|va))?",
        r"(?:mucho gusto|encantad[oa](?: de conocerte)?|un placer|igualmente)",
        r"(?:bien|muy bien|genial|perfecto|excelente|estupendo|fantastico|entendido|entiendo"
        r"|comprendo|listo|ya veo|ya esta|eso es todo|nada mas|de nada|no hay de que|me sirve"
        r"|muy amable|buen trabajo|(?:(?:esta|va) )?todo bien|maravilloso|que bien"
        r"|correcto|exacto|jaja(?:ja)?)",
        r"(?:adios|chao|chau|hasta (?:luego|pronto|manana|otra|la vista|la proxima)|nos vemos"
        r"|cuidate|que tengas (?:un )?(?:buen|buena) (?:dia|tarde|noche|fin de semana)"
        r"|feliz (?:dia|tarde|noche))",
        r"pues",
        r"entonces",
        r"amigo",
        r"a tod[oa]s",
        r"y",
        r"muy",
        r"tu",
    ),
    lead_ins=(
        r"(?:me )?(?:puedes|podrias|puede|podria|podeis|pueden)"
        r"(?: (?:decirme|decir|indicarme|indicar|ayudarme a entender)"
        r"(?= (?:que|quien|quienes|cuando|donde|cual|cuales|como|cuanto|cuantos|por|si) ))?",
        r"(?:quiero|quisiera|querria|necesito|me gustaria) (?:saber|conocer|entender|ver)",
        r"sabes(?= (?:que|quien|cuando|donde|cual|como|cuanto|cuantos|si) )",
        r"(?:dime|digame)(?= (?:que|quien|quienes|cuando|donde|cual|cuales|como|cuanto|cuantos"
        r"|por) )",
        r"por fa(?:vor)?",
        r"una pregunta",
        r"oye",
        r"y",
        r"pues",
        r"entonces",
        r"ahora",
        r"tambien",
    ),
    everything=(
        _TODO,
        r"todo (?:lo (?:que|relacionado|relativo)|sobre|acerca|el (?!(?:tiempo|dia|mundo|rato) )"
        r"|del)(?: \w+)?",
        r"toda la (?!(?:vida|noche|tarde|semana) )\w+",
        r"^(?:resume|resumir|resumelo|explica|explicame|lista|listame|dime|cuentame|muestrame"
        r"|ensename|dame|dimelo|cuentamelo|quiero saberlo|describe|compara"
        r"|comparalo)(?: \w+)? todo",
        r"cada (?!(?:vez|dia|cuanto|semana|mes|ano|hora|minuto|noche|manana) )\w+",
        rf"{_WORK}(?: \w+)? {_WHOLE}",
        rf"{_WHOLE} {_WORK}",
        r"(?:resumen|vision general|panorama) (?:del|de la|de los|de nuestros|de tu)"
        r" (?:portafolio|portfolio|documentacion|proyectos)",
        r"(?:al completo|por completo|en su totalidad|la totalidad)",
        r"sin excepcion",
        r"de (?:principio a fin|la a a la z|cabo a rabo)",
    ),
    analysis=(
        r"compar(?:a|ar|ame|arme|as|an|ado|ada|ados|adas|ando|acion|aciones|e|en|ativa|ativo)",
        r"vs",
        r"versus",
        r"frente a",
        r"dif+e?re?n[cs]ias?",
        r"(?:diferencia|diferencian|diferenciar|distingue|distinguen|distinguir)",
        r"(?:difiere|difieren|diferir)",
        r"(?:distint[oa]s?|diferentes?) (?:de|a|al|del|que|respecto)",
        r"contrast(?:a|ar|e|es)",
        r"(?:similitud|similitudes|semejanza|semejanzas|parecidos?)",
        r"se parecen?",
        r"en comun",
        r"ventajas (?:y|e|o)",
        r"(?:beneficios|fortalezas|puntos fuertes) y",
        r"pros y contras",
        r"(?:en lugar|en vez) de",
        r"(?:mas|menos) (?!(?:de|del) )\w+ (?:que|o|entre)",
        r"(?:mejor|peor|mayor|menor)(?: \w+){0,5} (?:o|que)",
        r"(?:mas|menos) \w+(?: \w+){0,3} o",
        r"(?:deberia|debo|deberiamos|conviene|prefieres|recomiendas|elegir|elijo|uso)"
        r"(?: \w+){1,4} o",
        r"cual(?:es)? (?:me |nos )?(?:deberia|deberiamos|debo|conviene|recomiendas|prefieres|elegir"
        r"|elijo|elegirias)",
        r"compromisos? entre",
        r"caus(?:a|as|o|aron|an|ar|ado|ados|ante)",
        r"(?:motivos?|razones|razon) (?:de|del|por|para|que)",
        r"debe a",
        r"debid[oa] a",
        r"por que (?:\w+ ){0,5}(?:falla|fallan|fallo|fallaron|falle|cae|cayo|rompe|rompio|lent[oa]"
        r"|tarda|cuelga|bajo|bajaron|subio|subieron|aumento|aumentaron|disminuyo|disminuyeron"
        r"|crecio|crecieron|cayeron|cambio|cambiaron|empeoro|empeoraron)",
        r"factores",
        r"(?:analiza|analizar|analizame|analice|analisis de|evalua|evaluar|evalue|evaluacion"
        r"|valora|valorar|investiga|diagnostica)",
        r"(?:afecta|afectan|afecto|afectaria|influye|influyen|impacta|impacto|repercute)",
        r"(?:consecuencias?|implicaciones|efectos?|repercusiones)",
        r"relacion (?:hay |existe |tiene |tienen )?(?:entre|con)",
        r"se relacionan?",
        r"(?:cual|que)(?: \w+){0,4} es (?:el |la )?(?:mas|menos|mejor|peor)",
    ),
    broad=(
        r"como (?!(?:te|se) (?:llama|llamas|llaman|dice) )\w+",
        r"por ?que",
        r"a que se debe",
        r"(?:cuantos|cuantas) \w+ (?:usan|utilizan|hay|existen|tenemos|tienen|son|estan|con|sin|en"
        r"|soportan|necesitan)",
        r"(?:explica|explicame|explicar|explicarme|expliquen|explique|describe|describeme|describir"
        r"|resume|resumeme|resumir|resumen|detalla|detallar|desarrolla|esboza)",
        r"(?:vision general|descripcion|panorama|introduccion|esquema|explicacion) (?:de|del|a)",
        r"(?:hablame|hablar|cuentame|cuenta|contarme|informacion|info|detalles|dime|mas) (?:algo )?"
        r"(?:mas )?(?:sobre|del|de|acerca)",
        r"(?:sabemos|sabes|sabe|saber|conoces|dice|dicen) (?:de|del|sobre|acerca)",
        r"^(?:lista|listar|listame|enumera|enumerame|muestra|muestrame|mostrar|mostrarme|dame"
        r"|darme|busca|buscar|buscame|encuentra|ensename|nombra|menciona|escribe|recomienda"
        r"|sugiere|quiero ver)",
        r"(?:lista|listado) (?:de|los|las)",
        r"(?:ejemplos?|pasos) (?:de|para|con)",
        r"(?:tipos?|clases?) de",
        r"(?:cuales|quienes) (?:son|fueron|eran|de|usan|tienen|estan)",
        rf"^{_FOR_WHAT}que (?:tipo|clase|{_PLURAL})",
        rf"^{_FOR_WHAT}(?:cuales) \w+",
        rf"^(?:hay|existen|tienes|tienen|tenemos|teneis|conoces)(?: mas| otros| otras)? {_PLURAL}",
        r"y (?:quien|que|cuando|donde|como|por que|cual|cuales)",
        r"(?:manera|forma|proceso|procedimiento) (?:de|para)",
        r"que (?:pasa|ocurre|sucede) (?:si|cuando|con)",
        r"(?:ventajas|desventajas|beneficios|inconvenientes|limitaciones) (?:de|del)",
        r"en que consisten?",
    ),
    fact=(
        rf"^{_FOR_WHAT}(?:que|quien|quienes|cual|cuales|cuando|donde|adonde|cuanto|cuanta|cuantos"
        r"|cuantas)",
        r"^como (?:te|se) (?:llama|llamas|llaman|dice)",
        r"^(?:es|son|esta|estan|tiene|tienen|usa|usan|hay|existe|puedo|se puede|soporta|necesita"
        r"|funciona|fue|ha|permite|define|soporta)",
        r"^\w+ (?:es|esta|tiene|usa|soporta|necesita|funciona|permite|fue|puede)",
    ),
    constraint=(
        r"con",
        r"sin",
        r"pero",
        r"excepto",
        r"salvo",
        r"incluyendo",
        r"excluyendo",
        r"solo",
        r"no",
        r"antes",
        r"despues",
        r"desde",
        r"hasta",
        r"entre",
        r"durante",
        r"usando",
        r"y",
        r"e",
        r"o",
        r"(?:escrit[oa]s?|hech[oa]s?|creado|creados) (?:en|por|con)",
        r"que (?:usan|usen|tienen|tengan|empezaron|empezaran|fueron|sean|son|estan|esten|no)",
        r"(?:mas de|menos de|al menos|como mucho)",
        r"en \d{4}",
        r"si",
    ),
    typos={
        "q": "que",
        "k": "que",
        "ke": "que",
        "qe": "que",
        "qeu": "que",
        "xq": "por que",
        "pq": "por que",
        "porq": "por que",
        "porke": "por que",
        "kien": "quien",
        "qien": "quien",
        "kual": "cual",
        "cualez": "cuales",
        "komo": "como",
        "cmo": "como",
        "ay": "hay",
        "tods": "todos",
        "todso": "todos",
        "difrencia": "diferencia",
    },
    corrected=listed(
        """
        compara comparar comparacion diferencia diferencias completo completa exhaustiva
        exhaustivo resumen explica describe proyecto proyectos tecnologias ventajas desventajas
        cuales quienes gracias analiza muestrame listame versus
        """
    ),
    not_typos=listed(
        """
        compra compras compran comprar comprara compare completar completan diferenciar cuales
        resume resumes explico explican proyecta proyectan proyector gracia gracioso
        """
    ),
)
