"""Questions with the level they deserve, labelled by meaning; one a line, by level and language.

TRIVIAL: greetings, thanks, goodbyes, acknowledgements. SIMPLE: one fact about one thing, or who
the bot is. MEDIUM: a filtered list, or how or why about one topic. COMPLEX: comparison,
difference, trade-off, cause, several constraints. COMPREHENSIVE: everything, or compare over all.
"""

TRIVIAL_EN = """
hello there!
Hi
HEY
hey!!!
Hiya
helo
hello 👋
Good morning
good afternoon!
Thanks
thank you so much
thx!
Thanks a lot for your help
ok
OK, thanks!
okay great
bye
Goodbye!
see you later
How are you?
hi, how are you doing today?
what's up?
yes
no thanks
cool 😎
Got it, thank you
👍
!!!
perfect, that helps
nice to meet you
Hey, good evening!
Thank you, that was very helpful
thanks, bye!
okay got it
Great job!
howdy
"""

TRIVIAL_ES = """
¡Hola!
HOLA
holaaa
hola, buenas
Buenos días
buenos dias
buenas tardes
Buenas noches!
¡Muchas gracias!
mil gracias
GRACIAS 🙏
ok gracias
vale
vale, perfecto
de acuerdo
adiós
adios
hasta luego
hasta mañana!
nos vemos
¿Cómo estás?
hola, ¿qué tal?
que tal
sí
no, gracias
genial
entendido, gracias
de nada
encantado
chao
Hola!! 😊
Muchísimas gracias por todo
perfecto, muchas gracias
hola buenas tardes, ¿cómo está?
bien, gracias
claro que sí
de acuerdo, hasta luego
ok, entendido
"""

SIMPLE_EN = """
what is react
Whats React?
whats your name
Who are you?
What are you?
What can you do?
who is Ana Torres?
Who wrote Atlas?
When was Beacon released?
Where is the data center?
What does RAG mean?
What database does Atlas use?
Which framework powers Beacon?
What language is Atlas written in?
Is Atlas open source?
Does Beacon support OAuth?
How old is the company?
How many stars does Atlas have?
How much does Beacon cost?
How long is the trial?
What's the license of Atlas?
define idempotency
Hi! What is pgvector?
Hello, who maintains Beacon?
WHAT IS THE DEADLINE FOR ATLAS???
Could you tell me when Atlas was released?
waht is react
Who is the author of the billing service? Thanks!
What version of Python does Atlas need?
what port does the API listen on
Can Atlas run offline?
What is the capital of the project budget?
React hooks
What is Kubernetes?
hi. how are you? what is React?
Who leads the mobile team?
what's a vector database?
When does the contract expire?
How tall is the tower?
Where are the logs stored?
is there a free plan?
What is the default timeout?
Which version of Node do we need?
hey, whats your name?
What year was the company founded?
Who is responsible for invoices?
whats the email of the support team
"""

SIMPLE_ES = """
¿Qué es React?
que es react
QUE ES REACT??
¿Quién eres?
¿Cómo te llamas?
como te llamas
¿Qué puedes hacer?
¿Quién es Ana Torres?
quien escribio atlas
¿Cuándo se publicó Faro?
¿Dónde está el centro de datos?
¿Qué significa RAG?
¿Qué base de datos usa Atlas?
¿Qué lenguaje usa Faro?
¿En qué lenguaje está escrito Atlas?
¿Atlas es de código abierto?
¿Faro soporta OAuth?
¿Cuántos años tiene la empresa?
¿Cuánto cuesta Faro?
¿Cuánto dura la prueba?
¿Cuál es la licencia de Atlas?
cual es el puerto de la api
Hola, ¿quién mantiene Faro?
Hola! qué es pgvector
¿Me puedes decir cuándo salió Atlas?
¿Hay una demo de Atlas?
¿Se puede usar Atlas sin conexión?
define idempotencia
quién creó React
¿Qué versión de Python necesita Atlas?
¿De quién es el proyecto Faro?
¿Qué haces?
cuando se fundo la empresa?
¿Es gratis Faro?
k es react
¿Qué es un índice HNSW?
¿Quién dirige el equipo móvil?
¿Cuándo vence el contrato?
¿Dónde se guardan los registros?
¿Cuál es el tiempo de espera por defecto?
hay plan gratis?
¿En qué año se fundó la empresa?
cual es el correo de soporte
¿Quién eres tú?
¿Cuántos empleados tiene la empresa?
"""

MEDIUM_EN = """
what react projects are there
WHAT REACT PROJECTS ARE THERE?!
Hi, what React projects are there?
Which projects use Postgres?
which projets use react
List the Python projects
list projects from 2023
Show me the data projects
Give me some examples of machine learning projects
What technologies does Atlas use?
What are the main features of Beacon?
Find projects with a REST API
How does Atlas store its data?
How do I install Beacon?
how to deploy atlas
how can i reset my password?
Why does Atlas use Kafka?
why is the encoder in its own process?
Explain how the cache works
explain hooks in react
Describe the architecture of Beacon
Tell me about the Atlas project
Summarize the Beacon project
summarise atlas in three sentences
What are the steps to deploy Atlas?
How many projects use React?
Are there any projects in Go?
Do you have projects about logistics?
Can you list the frontend projects, please?
Could you please explain the retry policy?
Who are the maintainers of Beacon?
What open source projects does the team have?
What different projects are there?
What do we know about vector search?
I would like to know how billing works
Give me an overview of the Atlas project
what kind of projects do you have
Which libraries are used in Beacon?
Whats the process to request access and who approves it?
What is React? Who created it?
Which teams work with Kubernetes?
what services use redis
How does authentication work?
Why do we use a message queue?
Show projects written in Rust
how do i rotate the api keys?
What are the requirements for a new laptop?
Explain the vacation policy
Tell me about your experience with Django
Do you have any mobile apps?
Give me the list of open positions
What skills does Ana have?
can u explain how caching works pls
Which customers are in Spain?
What would I need to run this on my laptop with a small GPU?
"""

MEDIUM_ES = """
¿Qué proyectos de React hay?
que proyectos de react hay
QUÉ PROYECTOS HAY EN REACT
Hola, ¿qué proyectos de React hay?
q proyectos hay de python
¿Qué proyectos usan Postgres?
¿Cuáles son los proyectos de datos?
cuales son los proyectos en python
Lista los proyectos de Python
lista proyectos de 2023
Muéstrame los proyectos de datos
Dame ejemplos de proyectos de aprendizaje automático
¿Qué tecnologías usa Atlas?
¿Cuáles son las funciones principales de Faro?
Busca proyectos con una API REST
¿Cómo guarda Atlas sus datos?
¿Cómo instalo Faro?
como se despliega atlas
¿cómo puedo cambiar mi contraseña?
¿Por qué usa Atlas Kafka?
por que el codificador tiene su propio proceso?
Explica cómo funciona la caché
explícame los hooks de react
Describe la arquitectura de Faro
Háblame del proyecto Atlas
cuentame sobre el proyecto faro
Resume el proyecto Faro
¿Cuáles son los pasos para desplegar Atlas?
¿Cuántos proyectos usan React?
¿Hay proyectos en Go?
¿Tienes proyectos de logística?
¿Puedes listar los proyectos de frontend, por favor?
¿Podrías explicar la política de reintentos?
¿Quiénes son los autores de Faro?
¿En qué proyectos se usa Redis?
¿Qué proyectos diferentes existen?
¿Qué sabemos de la búsqueda vectorial?
Quiero saber cómo funciona la facturación
xq usa kafka el proyecto atlas
¿Qué es React? ¿Quién lo creó?
¿Qué equipos trabajan con Kubernetes?
que servicios usan redis
¿Cómo funciona la autenticación?
¿Por qué usamos una cola de mensajes?
Muestra los proyectos en Rust
como roto las claves de la api
¿Cuáles son los requisitos para un portátil nuevo?
Explica la política de vacaciones
Cuéntame tu experiencia con Django
¿Tienes aplicaciones móviles?
¿Qué habilidades tiene Ana?
¿Qué clientes están en España?
me puedes explicar como funciona la cache porfa
"""

COMPLEX_EN = """
Compare React versus Vue
compare react vs vue
comapre React and Vue
Atlas vs Beacon
What is the difference between Atlas and Beacon?
whats the diference between rest and graphql
Differences between the two billing services
How does Atlas differ from Beacon?
How is Atlas different from Beacon?
Which is better, React or Vue?
Is Postgres faster than Redis for this?
What are the trade-offs of microservices?
what are the pros and cons of kafka
Advantages and disadvantages of a monolith
Why was Kafka chosen over RabbitMQ?
Why did we use Postgres instead of MongoDB?
What caused the outage in March?
What was the root cause of the login failures?
Analyze the impact of the cache on latency
analyse why the nightly job fails
How does the chunk size affect recall?
What are the similarities between Atlas and Beacon?
Contrast the two deployment strategies
Evaluate the risks of moving to Kubernetes
Should I use React or Angular for a dashboard?
Which React projects with TypeScript and tests were released after 2021 but not in production?
Find projects written in Python without Docker that use Kafka and were started before 2022
Hi, can you compare Atlas and Beacon please?
COMPARE ATLAS TO BEACON!!!
What is the relationship between latency and batch size?
explain the differences between vector and keyword search
What are the consequences of dropping the index?
Compared to Atlas, what does Beacon lack?
what is more scalable, atlas or beacon
How do Atlas and Beacon compare in cost and speed?
How does our churn compare with last year?
What distinguishes plan A from plan B?
REST or GraphQL: which one should we choose for mobile?
Why did revenue drop in the second quarter?
what's better for logs, kafka or redis streams?
Discuss the advantages and drawbacks of remote work
What factors led to the delay of the release?
What is the impact of the new law on our contracts?
Which customers in Spain with more than 50 seats signed before 2022 and have not renewed?
difrence between sql and nosql
"""

COMPLEX_ES = """
Compara React con Vue
compara react vs vue
comapra React y Vue
Atlas vs Faro
diferencia entre REST y GraphQL
¿Cuál es la diferencia entre Atlas y Faro?
cual es la diferecia entre rest y graphql
diferencias entre los dos servicios de facturación
¿En qué se diferencia Atlas de Faro?
¿En qué difieren Atlas y Faro?
¿Qué es mejor, React o Vue?
¿Es Postgres más rápido que Redis para esto?
¿Cuáles son las ventajas y desventajas de los microservicios?
pros y contras de kafka
ventajas e inconvenientes de un monolito
¿Por qué se eligió Kafka en lugar de RabbitMQ?
¿Por qué usamos Postgres en vez de MongoDB?
¿Qué causó la caída de marzo?
¿Cuál fue la causa raíz de los fallos de acceso?
Analiza el impacto de la caché en la latencia
analiza por que falla el proceso nocturno
¿Cómo afecta el tamaño de los fragmentos a la exhaustividad?
¿Qué similitudes hay entre Atlas y Faro?
Contrasta las dos estrategias de despliegue
Evalúa los riesgos de migrar a Kubernetes
¿Debería usar React o Angular para un panel?
¿Qué proyectos de React con TypeScript y pruebas salieron después de 2021 pero no están en uso?
Busca proyectos escritos en Python sin Docker que usen Kafka y que empezaron antes de 2022
Hola, ¿puedes comparar Atlas y Faro, por favor?
COMPARACIÓN ENTRE ATLAS Y FARO
¿Qué relación hay entre la latencia y el tamaño del lote?
explica las diferencias entre búsqueda vectorial y por palabras
¿Qué consecuencias tiene borrar el índice?
¿Qué tiene Atlas que no tenga Faro, comparado en coste?
que es mas escalable, atlas o faro
¿Cómo ha cambiado la rotación en comparación con el año pasado?
¿Qué distingue el plan A del plan B?
REST o GraphQL, ¿cuál deberíamos elegir para móvil?
¿Por qué bajaron los ingresos en el segundo trimestre?
que es mejor para logs, kafka o redis
Ventajas e inconvenientes del trabajo remoto
¿Qué factores llevaron al retraso de la entrega?
¿Qué impacto tiene la nueva ley en nuestros contratos?
¿Qué clientes de España con más de 50 puestos firmaron antes de 2022 y no han renovado?
diferensia entre sql y nosql
"""

COMPREHENSIVE_EN = """
List all projects with their technologies
list ALL the projects
LIST ALL PROJECTS AND THEIR TECHNOLOGIES!!!
Compare all React and Python projects
compare all projects
comapre all the projects by cost
Tell me everything about Atlas
Tell me everything you know
Give me a complete overview of the portfolio
I need a full summary of the documentation
Summarize everything
Show me every project and who wrote it
For each project, list its technologies
What are all the technologies used across the projects?
Give me an exhaustive list of the APIs
Hi, please list all the documents
comprehensive report on our data projects
Describe the entire portfolio
Summarise all of the documents
Write a detailed overview of all projects, their authors and their status
an overview of the whole portfolio
Which technologies are used in each of the projects?
give me the complete inventory of services
What do all the projects have in common?
Can you explain every feature of Beacon?
Give me all the details about every employee
List every API endpoint with its parameters
What are all the products and their prices?
Full report of the company
Compare every plan
Summarize the whole document
Tell me all you know about the company
I want a complete guide to the product
"""

COMPREHENSIVE_ES = """
Lista todos los proyectos con sus tecnologías
lista TODOS los proyectos
LISTA TODOS LOS PROYECTOS Y SUS TECNOLOGIAS
Compara todos los proyectos de React y Python
compara todos los proyectos
comapra todos los proyectos por coste
Cuéntame todo sobre Atlas
dime todo lo que sabes
Dame una visión completa del portafolio
Necesito un resumen completo de la documentación
Resume todo
Muéstrame cada proyecto y quién lo escribió
Para cada proyecto, lista sus tecnologías
¿Cuáles son todas las tecnologías usadas en los proyectos?
Dame una lista exhaustiva de las API
Hola, por favor lista todos los documentos
informe completo de nuestros proyectos de datos
Describe el portafolio entero
Resume todos los documentos
Escribe un resumen detallado de todos los proyectos, sus autores y su estado
un panorama general de todo el portafolio
¿Qué tecnologías se usan en cada uno de los proyectos?
dame el inventario completo de servicios
¿Qué tienen en común todos los proyectos?
todo acerca de faro
Dame todos los detalles de cada empleado
Lista todos los endpoints con sus parámetros
¿Cuáles son todos los productos y sus precios?
Informe completo de la empresa
Compara todos los planes
Resume el documento entero
Dime todo lo que sepas de la empresa
quiero una guía completa del producto
"""

LEVELS = {
    "trivial": (TRIVIAL_EN, TRIVIAL_ES),
    "simple": (SIMPLE_EN, SIMPLE_ES),
    "medium": (MEDIUM_EN, MEDIUM_ES),
    "complex": (COMPLEX_EN, COMPLEX_ES),
    "comprehensive": (COMPREHENSIVE_EN, COMPREHENSIVE_ES),
}
CASES = [
    (message, level)
    for level, tables in LEVELS.items()
    for table in tables
    for message in table.strip().splitlines()
]
