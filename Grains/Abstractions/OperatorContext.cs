using Orleans.Runtime;

namespace Pollux.Grains.Abstractions;

/// <summary>Who asks for a command: the name of the operator's token, which travels with the call from the API to the grain.</summary>
public static class OperatorContext
{
    /// <summary>The first token, and calls that name nobody.</summary>
    public const string Default = "operator";

    private const string Key = "pollux.operator";

    public static string Current => RequestContext.Get(Key) as string is { Length: > 0 } name ? name : Default;

    /// <summary>At the begin of a sentence.</summary>
    public static string InWords(string name) => name == Default ? "The operator" : $"Operator {name}";

    /// <summary>For the calls that follow in this flow.</summary>
    public static void Set(string name) => RequestContext.Set(Key, name);
}
