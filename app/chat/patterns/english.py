"""English."""

from app.chat.patterns import Patterns, listed

_VERBS = (
    r"(?:is|isnt|are|was|were|does|do|did|has|have|had|can|could|should|would|will|the|a|an|of|to"
    r"|in|on|for|it|this|that|you|we|i|they)"
)
# Ends in s, is not a verb, and not one of the singular words in -ss, -us, -is or -js.
_PLURAL = (
    r"(?!(?:does|was|has|kubernetes|postgres|aws|keras|pandas|always|perhaps|https|gas) )"
    r"\w+(?<![suij])s"
)
_AFTER_PLURAL = (
    r"(?:are|were|do|did|does|have|has|had|can|could|should|will|would|use|used|using|run|support"
    r"|need|exist|there|in|on|with|without|for|from|that|of|by|written|about|depend|mention)"
)
_WHOLE = r"(?:complete|full|entire|whole|comprehensive|exhaustive|detailed|general)"
_WORK = (
    r"(?:list|overview|summary|picture|inventory|portfolio|report|description|catalog|catalogue"
    r"|collection|documentation|review|breakdown|analysis|comparison|guide"
    r"|project list|set of)"
)
_COMPARATIVE = r"(?:better|worse|best|(?!(?:her|their|other|over|user|server) )\w{3,}er|more \w+)"

ENGLISH = Patterns(
    small_talk=(
        r"good (?:morning|afternoon|evening|night|day)",
        r"hi+ there",
        r"hello+ there",
        r"hey+ there",
        r"hi+",
        r"hel+o+",
        r"hey+",
        r"hiya",
        r"howdy",
        r"greetings",
        r"(?:thanks|thank you|thank u|thankyou|thx|thanx|ty|cheers)"
        r"(?: (?:a lot|so much|very much|again|in advance|a million))?"
        r"(?: for (?:your|the|all your|all the) (?:help|answer|time|info|support))?",
        r"many thanks",
        r"please",
        r"pls",
        r"ok(?:ay)?",
        r"yes",
        r"yeah",
        r"yep",
        r"no",
        r"nope",
        r"sure",
    ),
    alone=(
        r"how are you(?: (?:doing|today|all)){0,3}",
        r"hows it going",
        r"how do you do",
        r"(?:how|is) (?:is )?everything(?: (?:ok|okay|going|fine|good|all right))?",
        r"(?:whats|what is) up",
        r"nice to (?:meet|see) you",
        r"pleased to meet you",
        r"(?:good|great) (?:job|work|answer|bot)",
        r"(?:good|great|nice|cool|perfect|awesome|excellent|wonderful|fine|alright|all right"
        r"|all good|right|understood|got it|i see|makes sense|sounds good|never mind|nevermind"
        r"|no problem|no worries|youre welcome|welcome|amazing|lol|haha|wow)",
        r"(?:that|this|it) (?:really )?(?:helps|helped|works|is all|is it)",
        r"(?:that|this|it) (?:is|was) (?:so |very |really )?(?:great|perfect|good|helpful|useful)",
        r"thats (?:great|all|it|perfect|good|helpful|right)",
        r"well done",
        r"(?:good ?bye|bye|cya|see (?:you|ya)(?: (?:later|soon|tomorrow|around))?|take care"
        r"|have a (?:good|nice|great) (?:day|one|weekend|evening)|talk to you later|later)",
        r"very much",
        r"so much",
        r"bro",
        r"friend",
        r"bot",
        r"everyone",
        r"all",
        r"you",
        r"and",
        r"then",
    ),
    lead_ins=(
        r"(?:can|could|would|will) (?:you|u)(?: please| kindly| quickly)?"
        r"(?: (?:tell me|let me know|help me understand|help me)(?= (?:what|who|whos|when|where"
        r"|which|how|why|if|whether|the) ))?",
        r"(?:id|i would) (?:like|love) (?:to (?:know|understand|see)|you to)",
        r"(?:i )?(?:want|need) to (?:know|understand|see)",
        r"do you (?:happen to )?know",
        r"(?:tell me|let me know)(?= (?:what|who|when|where|which|how|why|if|whether) )",
        r"(?:i am|im) (?:looking for|wondering|curious)",
        r"please",
        r"so",
        r"and",
        r"now",
        r"just",
        r"quick question",
        r"also",
    ),
    everything=(
        r"(?<! at)(?<! after)(?<! above)all (?!(?:right|good|set|day|night|time|well|but) )\w+",
        r"(?:compare|list|show|describe|explain|summari[sz]e|them|us|they) (?:\w+ ){0,2}all",
        r"everything(?! else)",
        r"every (?!(?:day|night|time|week|month|year|hour|minute|second|now|other|morning) )\w+",
        r"(?:for|of|in|across|about|show|list|describe|compare) (?:each|every)"
        r"(?! (?:day|time|week|month|year) )",
        rf"{_WHOLE}(?: \w+){{0,2}} {_WORK}",
        r"(?:overview|summary) of (?:the|our|your|this) (?:\w+ )?(?:portfolio|documentation"
        r"|projects)",
        r"(?:entire|whole) \w+",
        r"as (?:much|many) (?:\w+ )?as (?:possible|you can)",
        r"without exception",
        r"from a to z",
        r"end to end",
    ),
    analysis=(
        r"compar(?:e|es|ed|ing|ison|isons)",
        r"vs",
        r"versus",
        r"dif+e?re?n[cs]es?",
        r"differs?",
        r"differentiates?",
        r"distinguish(?:es)?",
        r"different (?:from|than|to)",
        r"contrast(?:s|ing)?",
        r"similarit(?:y|ies)",
        r"similar(?: \w+){0,4} (?:to|and)",
        r"in common",
        r"(?:trade ?offs?|trade off|tradeoff)",
        r"pros (?:and|or|n) cons",
        r"advantages (?:and|or|over)(?: \w+)?",
        r"(?:benefits|strengths|upsides) and \w+",
        rf"(?:{_COMPARATIVE}|less \w+) than(?! (?:\d+|one|two|three|a|an) )",
        rf"{_COMPARATIVE}(?: \w+){{0,4}} or",
        r"should (?:i|we) (?:\w+ )?(?:use|choose|pick|prefer|go)(?: \w+){1,5} or",
        r"(?:instead of|rather than|as opposed to|over other|chosen over)",
        r"(?:chose|chosen|picked|prefer|preferred|selected|use|used)(?: \w+){1,3} over",
        r"caus(?:e|es|ed|ing)",
        r"root cause",
        r"(?:reasons?) (?:behind|for|why)",
        r"(?:led|leads|lead) to",
        r"why (?:\w+ ){1,5}(?:fail|fails|failed|failing|crash|crashes|crashed|break|breaks|broke"
        r"|slow|slower|down|drop|drops|dropped|decline|declined|increase|increased|decrease|decreased"
        r"|grow|grew|rise|rose|fall|fell|change|changed|worse)",
        r"factors",
        r"analy[sz](?:e|es|ed|ing)",
        r"analysis of",
        r"evaluat(?:e|es|ing|ion)",
        r"assess(?:es|ment)?",
        r"critiqu?e",
        r"investigate",
        r"diagnose",
        r"(?:affect|influence|impact)(?:s|ed|ing)?",
        r"(?:consequences|implications|effects?) of",
        r"(?:relationship|relation|correlation|interplay|interaction) (?:between|of|with)",
        r"how (?:do|does|is|are)(?: \w+){1,3} relate[ds]?",
        r"weigh",
        r"which (?:one )?(?:should|would|do|shall) (?:i|we|you) (?:choose|pick|use|prefer"
        r"|recommend)",
        r"which (?:one )?(?:of \w+ )?(?:is|are|would be) (?:the )?(?:most|least|best|better)",
    ),
    broad=(
        r"how (?!(?:old|much|many|long|tall|far|big|large|often|fast|high|deep|wide|heavy) )\w+",
        r"how many \w+ (?:use|uses|using|are|have|were|with|without|in|on|run|need|support)",
        r"why",
        r"how come",
        r"explain(?:s|ed)?",
        r"describe",
        r"elaborate",
        r"outline",
        r"summari[sz]e",
        r"(?:overview|summary|description|explanation) of",
        r"(?:tell me|know|learn|information|info|details?|talk|more) (?:more )?about",
        r"walk me through",
        r"guide (?:me|to|for)",
        r"^(?:list|show|give|find|search|enumerate|get|write|recommend|suggest|display)",
        r"name (?:some|two|three|four|five|a few|the)",
        r"(?:list|lists) (?:of|the|me|some|our|your)",
        r"(?:show|give|find) (?:me|us)",
        r"(?:some|any|few|give|more) examples?",
        r"examples of",
        r"(?:kinds?|types?|sorts?) of",
        r"(?:what|which|who) are (?:the|our|your|some|these|those|my|their)",
        r"whos? are (?:the|our|your)",
        rf"^(?:what|which) {_PLURAL}",
        rf"(?:what|which)(?: (?!{_VERBS} )\w+){{1,2}} {_PLURAL} {_AFTER_PLURAL}",
        rf"^(?:in|on|for|with|from) (?:what|which) {_PLURAL}",
        rf"(?:are|were) there (?:any |some |other |more )?(?:\w+ )?{_PLURAL}",
        rf"^(?:do|does) \w+ have (?:any |some )?(?:\w+ )?{_PLURAL}",
        r"(?:and|or) (?:who|what|when|where|how|why|which)",
        r"steps? (?:to|for)",
        r"(?:process|procedure|way|best practices) (?:to|for|of)",
        r"what happens",
        r"(?:advantages|disadvantages|benefits|drawbacks|limitations|use cases) of",
    ),
    fact=(
        r"^(?:what|whats|who|whos|whose|when|whens|where|wheres|which|define|is|are|was|were|does"
        r"|do|did|has|have|can|could|will|should|may|must)",
        r"^(?:in|on|at|by|for|to|from|with) (?:what|which|whom)",
        r"^how (?:old|much|many|long|tall|far|big|large|often|fast|high|deep|wide|heavy)",
    ),
    constraint=(
        r"with",
        r"without",
        r"but",
        r"except",
        r"excluding",
        r"including",
        r"only",
        r"not",
        r"before",
        r"after",
        r"since",
        r"until",
        r"between",
        r"during",
        r"using",
        r"that",
        r"and",
        r"or",
        r"written in",
        r"(?:more|less|fewer|at least|at most|older|newer|later|earlier)",
        r"in \d{4}",
        r"if",
    ),
    typos={
        "waht": "what",
        "wat": "what",
        "wht": "what",
        "hwat": "what",
        "whta": "what",
        "wich": "which",
        "whcih": "which",
        "hwo": "how",
        "teh": "the",
        "u": "you",
        "ur": "your",
        "r": "are",
        "lsit": "list",
        "lits": "list",
        "shwo": "show",
        "evry": "every",
        "vesus": "versus",
        "verus": "versus",
    },
    corrected=listed(
        """
        compare comparison difference differences versus everything complete comprehensive
        exhaustive overview explain describe summarize summarise project projects technologies
        between advantages disadvantages tradeoffs thanks analyze analyse entire
        """
    ),
    not_typos=listed("completed completes compute protects prospects thank different"),
)
