using System.Security.Cryptography;
using System.Text;
using System.Xml;
using System.Xml.Linq;

namespace Pollux.DataPlane.Hypervisor;

/// <summary>A VM's definition as it is given to the hypervisor.</summary>
public static class DomainDefinition
{
    /// <summary>Largest definition, bytes: real ones have some 10 KiB.</summary>
    public const int BytesMax = 1024 * 1024;

    /// <summary>Checks that the text defines this domain and completes it: a definition without a UUID gets one that depends on the module
    /// only, so that the guest sees the same machine on both hosts and libvirt the same domain at each start.</summary>
    /// <exception cref="FormatException">It does not; the message says why.</exception>
    public static string Complete(string definition, string domain, string module)
    {
        XDocument document;
        try
        {
            using var reader = XmlReader.Create(
                new StringReader(definition), new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, XmlResolver = null });
            document = XDocument.Load(reader);
        }
        catch (XmlException e)
        {
            throw new FormatException($"it is not XML: {e.Message}", e);
        }

        if (document.Root is not { Name.LocalName: "domain" } root)
            throw new FormatException("it has no <domain> element");
        var name = root.Element("name")?.Value.Trim();
        if (name != domain)
            throw new FormatException($"it defines the domain '{name}', the module's is '{domain}'");
        if (root.Element("uuid") is null)
            root.Element("name")!.AddAfterSelf(new XElement("uuid", Uuid(module)));
        return document.ToString();
    }

    /// <summary>What of this host's storage the VM cannot start or go on without: disks, UEFI variables, kernel and initial RAM disk. Storage
    /// behind a network is the same from both hosts and is left out; so are media that libvirt may leave away (startupPolicy "optional")
    /// and the firmware, which the system brings.</summary>
    /// <param name="definition">As <see cref="Complete"/> gave it.</param>
    /// <returns>A name, for example <c>disk vda</c>, and an absolute path; what is no file has the words of the definition for a path.</returns>
    public static IReadOnlyList<(string What, string Path)> LocalStorage(string definition)
    {
        var root = XDocument.Parse(definition).Root!;
        var found = new List<(string, string)>();
        foreach (var disk in root.Elements("devices").Elements("disk"))
        {
            // An empty drive has no source.
            if ((string?)disk.Attribute("type") is "network" or "vhostuser" or null || disk.Element("source") is not { HasAttributes: true } source
                || (string?)source.Attribute("startupPolicy") == "optional")
                continue;
            found.Add(($"disk {(string?)disk.Element("target")?.Attribute("dev")}",
                (string?)source.Attribute("file") ?? string.Join(' ', source.Attributes().Select(static one => one.Value))));
        }
        foreach (var name in (string[])["nvram", "kernel", "initrd"])
            if (root.Element("os")?.Element(name) is { } file && ((string?)file.Element("source")?.Attribute("file") ?? file.Value.Trim()) is { Length: > 0 } path)
                found.Add((name, path));
        return found;
    }

    /// <summary>A name-based UUID (RFC 9562 section 5.8: version 8, custom).</summary>
    private static Guid Uuid(string module)
    {
        var bytes = SHA256.HashData(Encoding.UTF8.GetBytes("pollux-module:" + module)).AsSpan(0, 16);
        bytes[6] = (byte)(bytes[6] & 0x0f | 0x80);
        bytes[8] = (byte)(bytes[8] & 0x3f | 0x80);
        return new Guid(bytes, bigEndian: true);
    }
}
