using System.Collections.Immutable;
using System.Xml;
using System.Xml.Linq;

namespace Pollux.DataPlane.Core.Fencing;

/// <summary>A parameter of an agent, as its metadata name it.</summary>
/// <param name="Obsoletes">An older name that the agent takes as well; null: none.</param>
public sealed record FenceAgentParameter(string Name, bool Required, string? Obsoletes);

/// <summary>What an agent of the <c>fence-agents</c> package says of itself (FenceAgentAPI.md of ClusterLabs/fence-agents).</summary>
public sealed record FenceAgentMetadata(string Name, ImmutableArray<FenceAgentParameter> Parameters, ImmutableArray<string> Actions)
{
    /// <summary>Real ones have some 10 to 30 KiB. Characters.</summary>
    public const int LengthMax = 256 * 1024;

    /// <exception cref="FormatException">Not the metadata of an agent.</exception>
    public static FenceAgentMetadata Parse(string xml)
    {
        if (xml.Length > LengthMax)
            throw new FormatException($"metadata of more than {LengthMax} characters");
        try
        {
            using var reader = XmlReader.Create(new StringReader(xml), new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, XmlResolver = null });
            var root = XDocument.Load(reader).Root!;
            if (root.Name != "resource-agent" || root.Attribute("name")?.Value is not { Length: > 0 } name)
                throw new FormatException($"<{root.Name}> is no description of an agent");
            return new FenceAgentMetadata(
                name,
                [
                    .. root.Elements("parameters").Elements("parameter").Select(static parameter => new FenceAgentParameter(
                        parameter.Attribute("name")?.Value ?? throw new FormatException("a parameter without a name"),
                        parameter.Attribute("required")?.Value is "1" or "true",
                        parameter.Attribute("obsoletes")?.Value)),
                ],
                [.. root.Elements("actions").Elements("action").Select(static action => action.Attribute("name")?.Value ?? "")]);
        }
        catch (XmlException e)
        {
            throw new FormatException($"metadata that are no XML: {e.Message}", e);
        }
    }

    /// <summary>Null if the agent takes this.</summary>
    public string? Refuse(string action, IReadOnlyCollection<string> names)
    {
        if (!Actions.Contains(action))
            return $"{Name} has no action '{action}'; it has {string.Join(", ", Actions)}.";
        foreach (var name in names)
        {
            if (!Parameters.Any(parameter => Same(parameter.Name, name)))
                return $"{Name} has no parameter '{name}'.";
        }

        foreach (var parameter in Parameters)
        {
            if (parameter.Required && parameter.Name != "action"
                && !names.Any(name => Same(parameter.Name, name) || (parameter.Obsoletes is { } older && Same(older, name))))
                return $"{Name} needs '{parameter.Name}'.";
        }

        return null;
    }

    /// <summary>Agents take both spellings.</summary>
    private static bool Same(string one, string other) => one.Replace('-', '_') == other.Replace('-', '_');
}
