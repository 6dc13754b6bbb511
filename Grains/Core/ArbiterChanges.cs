namespace Pollux.Grains.Core;

/// <summary>Changes of the record as hosts write them and as people read them.</summary>
public static class ArbiterChanges
{
    public static ArbiterChange? Parse(string change) => change switch
    {
        "look" => ArbiterChange.Look,
        "takeover" => ArbiterChange.Takeover,
        "exclude" => ArbiterChange.Exclude,
        "join" => ArbiterChange.Join,
        "handover" => ArbiterChange.Handover,
        _ => null,
    };

    /// <summary>One sentence for the history.</summary>
    public static string Cause(ArbiterChange change, string by, string peer) => change switch
    {
        ArbiterChange.Takeover => $"{GrainKey.NameOf(by)} took over.",
        ArbiterChange.Exclude => $"{GrainKey.NameOf(by)} goes on without {GrainKey.NameOf(peer)}.",
        ArbiterChange.Join => $"{GrainKey.NameOf(peer)} is resynced and in sync with {GrainKey.NameOf(by)}.",
        ArbiterChange.Handover => $"{GrainKey.NameOf(by)} handed over to {GrainKey.NameOf(peer)}.",
        _ => "",
    };
}
