"""Lists of words and codes that tell languages apart. Accents are folded."""

from app.chat.patterns import listed

ENGLISH = listed(
    """
    the of and to in is are was were be been being am it its that this these those there here
    what whats which who whos whom whose when where why how hows do does did done doing dont
    doesnt didnt has have had having can cant could would should will wont shall may might must
    for from with without within by at on into onto about over under between among against
    through during before after above below than then because while if whether or but not nor
    any some each every all both either neither much many more most few less least other another
    such only own same so too very just also ever never always often still yet again once i you
    your yours he his him she her hers we our ours us they their them my mine myself yourself
    itself themselves an as isnt arent wasnt im ive youre theyre lets let please thanks
    thank hello hi hey bye goodbye good morning evening afternoon yes yeah okay ok sure tell
    show give list find explain describe compare summarize summarise know want need get make
    work works used use uses using project projects difference differences versus name year
    long old people one two three first last new best better worse main
    mean means meaning wrong write written
    teh waht wich hwo thier becuase shoud
    """
)
SPANISH = listed(
    """
    el la los las lo un una unos unas de del al y o u que cual cuales quien quienes cuando donde
    como cuanto cuanta cuantos cuantas por para con sin sobre entre hasta desde hacia segun ante
    tras durante mediante contra en es son era eran fue fueron ser sido siendo soy eres somos
    esta estan estaba estaban estar estoy estas estamos este estos esto ese esa esos esas eso
    aquel aquella hay habia hubo haber ha han he hemos habian tiene tienen tengo tenemos tienes
    tenia tenian hace hacen hacer hago hizo hicieron puede pueden puedo puedes podria podrias
    podemos debe deben debo deberia se si no mas menos muy mucho mucha muchos muchas poco pocos
    todo toda todos todas cada otro otra otros otras mismo misma algo alguien algun alguna algunos
    algunas nada nadie ningun ninguna ninguno tambien tampoco pero porque pues aunque mientras ya
    aun ahora entonces luego despues antes siempre nunca donde aqui ahi alli asi tu tus su sus mi
    mis nuestro nuestra nuestros nuestras yo ella ellos ellas usted ustedes nosotros vosotros les
    le nos os cuyo cuya quiero quieres necesito dime dame muestra muestrame lista listame explica
    explicame describe compara resume cuentame dinos hola gracias adios buenos buenas dias tardes
    noches favor saludos vale claro perdon usa usan usar utiliza utilizan utilizar funciona
    funcionan sirve sirven significa existe existen llama llamas llaman proyecto proyectos
    diferencia diferencias mejor mejores peor principal principales ventajas trabajo trabajos
    ano anos dos tres primer primero primera ultimo ultima gran cuesta haces haceis sabes
    bases datos comparar listar mostrar explicar resumir describir
    buscar ver hacer tener decir contar ke q xq pq porq porke kual kien tmb komo aser ay
    """
)
# Frequent in their neighbours, which share other words with them.
OTHER = listed(
    """
    le les des est et dans pour avec sur une aux qui sont cette ces nous vous ils elle pas
    quel quelle quels quelles comment pourquoi quoi c'est qu'est il je
    os um uma uns umas nao sao em no na nos nas do da dos das ao pelo pela voce quais qual
    isso esse mais foi tem com seu sua ou e
    il di che non sono della dei degli delle gli nel nella alla perche cosa quali come piu
    der die das und ist nicht ein eine einen von mit den dem des zu auf fur wie wer wo wann
    warum gibt sind auch oder bei nach aus
    het een van niet zijn wat dat voor met welke hoe ook naar
    els amb quina quins seva aquest aquesta
    och att det som pa av for ar inte vad hur med till
    """
)
# Also at home in the neighbours: enough for a short question, not to call a whole text Spanish.
SHARED = listed(
    """
    de la le les que un una o os e se si como para por es en no tu su mi te al del el me nos qual
    sobre entre contra era ser son la las los lo con ha
    in is was an on am will so do as i die van for men at over we all best beste
    """
)

# Words of programming languages that say nothing about the language around them.
KEYWORDS = listed(
    """
    for in if else elif not and or is from import return while with as class def try except
    where select by this new true false do then on to into set values order group having join
    let use get end all any case when update delete insert create table null i
    """
)
ISO_639_1 = listed(
    """
    aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de
    dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia
    id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo
    lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl
    ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk
    tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
    """
)
