using System.Collections.Immutable;
using System.Text;

namespace Pollux.DataPlane.Fencing;

/// <summary>An agent for this host's own power switch, as <c>fencing.json</c> names it.</summary>
/// <param name="Program">Absolute path, for example <c>/usr/sbin/fence_ipmilan</c>.</param>
/// <param name="Parameters">What the agent reads from its standard input, one <c>name=value</c> a line; never on a command line.</param>
/// <param name="Action"><c>off</c>, or <c>reboot</c> where the switch does it by itself: an agent on this host that has switched it off cannot
/// switch it on.</param>
/// <param name="DeadlineSeconds">After this the agent is killed and the outcome is unknown.</param>
public sealed record FenceAgentOptions(
    string Program, ImmutableSortedDictionary<string, string>? Parameters = null, string Action = "off",
    int DeadlineSeconds = FenceAgentOptions.DeadlineSecondsDefault)
{
    /// <summary>The usual power_timeout of agents is 20 s, and they log in first.</summary>
    public const int DeadlineSecondsDefault = 60;

    public const int DeadlineSecondsMax = 600;
    private const int ParametersMax = 64;
    private const int ValueCharactersMax = 1024;

    internal ImmutableSortedDictionary<string, string> Given => Parameters ?? ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>Null if it can be used as far as can be seen without running it.</summary>
    public string? Refusal()
    {
        if (!Path.IsPathRooted(Program) || !File.Exists(Program))
            return $"The fence agent {Program} does not exist; name it by its whole path, as /usr/sbin/fence_ipmilan.";
        if (Action is not ("off" or "reboot"))
            return $"action of the fence agent is '{Action}'; it can be off or reboot.";
        if (DeadlineSeconds is < 1 or > DeadlineSecondsMax)
            return $"deadlineSeconds of the fence agent is {DeadlineSeconds}; it can be 1 to {DeadlineSecondsMax}.";
        if (Given.Count > ParametersMax)
            return $"The fence agent has {Given.Count} parameters; it can have {ParametersMax}.";
        foreach (var (name, value) in Given)
        {
            if (name.Length == 0 || !name.All(static letter => char.IsAsciiLetterOrDigit(letter) || letter is '_' or '-'))
                return $"'{name}' is no name of a parameter.";
            if (name is "action" or "option")
                return $"The parameter '{name}' is given by itself: set action.";
            // A line more would be a parameter more.
            if (value is null || value.Length > ValueCharactersMax || value.Any(char.IsControl))
                return $"The value of the parameter '{name}' is missing, too long or has control characters.";
        }

        return null;
    }

    /// <summary>The agent's standard input.</summary>
    internal string Input(string action)
    {
        var input = new StringBuilder($"action={action}\n");
        foreach (var (name, value) in Given)
            input.Append(name).Append('=').Append(value).Append('\n');
        return input.ToString();
    }

    /// <summary>Words of an agent for logs and people: short, on one line, and without any value that it was given (it may be a password).</summary>
    internal string Redact(string text)
    {
        foreach (var value in Given.Values.Where(static value => value.Length > 0).OrderByDescending(static value => value.Length))
            text = text.Replace(value, "***", StringComparison.Ordinal);
        text = text.ReplaceLineEndings(" ").Trim();
        return text.Length <= WordsMax ? text : text[^WordsMax..];
    }

    /// <summary>The last words say the most. Characters.</summary>
    private const int WordsMax = 300;

    /// <summary>Records print what they hold; this one holds secrets.</summary>
    public override string ToString() => $"{Program} {Action}";
}
