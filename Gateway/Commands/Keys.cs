using System.CommandLine;
using System.CommandLine.Parsing;
using Pollux.Grains.Core;

namespace Pollux.Gateway.Commands;

/// <summary>Two names joined by a slash, as in <c>CLUSTER/HOST</c>.</summary>
internal sealed record Key(string Cluster, string Name)
{
    public override string ToString() => GrainKey.Of(Cluster, Name);

    public static Argument<Key> Argument(string name, string description) => new(name) { Description = description, CustomParser = Parse };

    /// <summary>Bad characters are the server's to refuse, with a problem; a missing slash is wrong usage.</summary>
    private static Key? Parse(ArgumentResult argument)
    {
        var parts = argument.Tokens[0].Value.Split('/');
        if (parts is [{ Length: > 0 } cluster, { Length: > 0 } name]) return new Key(cluster, name);
        argument.AddError($"'{argument.Tokens[0].Value}' is not of the form CLUSTER/NAME.");
        return null;
    }
}
